"""Whether a daemon is ready, and if not, why not: what `/healthz` says at each of them, to everybody.

It names no host, no person and no slice. Strangers may ask as often as they like: one look serves a second.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock

from rpc.credentials import Credentials
from trust.actions import Action
from trust.errors import Refusal
from trust.store import TrustStore

KEPT_SECONDS = 1
LEAST_FREE = 16 << 20  # bytes in a daemon's own folder: for its certificate, its key, what it must write down
PATH = "/healthz"

Look = Callable[[], str | None]
"""What is wrong with one thing that the daemon needs; None: nothing."""


class Health:
    """What the looks find: `{"status": "ok"}`, or `{"status": "not-ready", "why": {"database": "…"}}`."""

    def __init__(self, later: Callable[[], Mapping[str, Look]] = dict, /, **looks: Look) -> None:
        """Looks by the name of what they look at; each may wait for a few seconds, and raises nothing but Refusal.

        Args:
            later: those of a daemon that begins only once it serves this.
        """
        self._looks, self._later = looks, later
        self._lock = Lock()
        self._found: tuple[float, Mapping[str, str]] | None = None

    def answer(self) -> tuple[int, dict[str, object]]:
        """Status of HTTP, and body."""
        return answer(self.why())

    def why(self) -> Mapping[str, str]:
        """What is wrong, by name; empty if the daemon is ready."""
        with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > KEPT_SECONDS:
                self._found = time.monotonic(), found({**self._looks, **self._later()})
            return self._found[1]


def found(looks: Mapping[str, Look]) -> Mapping[str, str]:
    """What is wrong, by name."""
    said = {name: _said(look) for name, look in looks.items()}
    return {name: text for name, text in said.items() if text}


def answer(why: Mapping[str, str]) -> tuple[int, dict[str, object]]:
    """Status of HTTP, and body."""
    return (503, {"status": "not-ready", "why": dict(why)}) if why else (200, {"status": "ok"})


def own(credentials: Credentials, store: TrustStore) -> dict[str, Look]:
    """What every daemon with a certificate needs."""
    return {
        "revocations": trust(store),
        "clock": lambda: store.clock_trouble,
        "certificate": certificate(credentials, store),
        "disk": disk(credentials.directory),
    }


def trust(store: TrustStore) -> Look:
    """Whether the revocation list is new enough to change something."""

    def look() -> None:
        store.require_fresh(Action.CREATE)

    return look


def certificate(credentials: Credentials, store: TrustStore) -> Look:
    """Whether the daemon's own certificate counts."""

    def look() -> str | None:
        ended = credentials.certificate.not_valid_after_utc <= store.clock.now()
        return "its certificate has ended; it is renewed when plc answers, or enrol it again" if ended else None

    return look


def disk(folder: Path) -> Look:
    """Whether there is room in the daemon's folder for what it must write down."""

    def look() -> str | None:
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return f"its folder cannot be read: {error.strerror}"
        return None if free >= LEAST_FREE else f"{free >> 20} MiB are free where its folder is; make room"

    return look


def _said(look: Look) -> str | None:
    try:
        return look()
    except Refusal as refusal:
        return refusal.reason
