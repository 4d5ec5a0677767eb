"""plc's directory for those who need it often."""

from collections.abc import Callable
from threading import Lock
from time import monotonic

from plc.client.values import Directory
from trust.errors import Refusal

SECONDS_WITHOUT_AGENTS = 1  # the first agent is about to announce itself


class DirectoryCache:
    """plc's directory, asked for at most every ``seconds``; an older one serves while plc is away. Thread-safe."""

    def __init__(self, ask: Callable[[], Directory], seconds: float = 60) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = Lock()
        self._kept: Directory | None = None
        self._until = float("-inf")

    def __call__(self) -> Directory:
        """Blocks while plc is asked; raises Refusal when it has never answered."""
        with self._lock:
            if self._kept is None or monotonic() > self._until:
                self._kept = self._newest()
            return self._kept

    def _newest(self) -> Directory:
        try:
            found = self._ask()
        except Refusal:
            if self._kept is None:
                raise
            return self._kept
        self._until = monotonic() + (self._seconds if found.agents else SECONDS_WITHOUT_AGENTS)
        return found
