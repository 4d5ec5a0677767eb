"""Threads kept free for what a user waits for: background work never takes them all."""

from collections import deque
from collections.abc import Callable
from threading import Lock

from rpc.background import surviving


class ConcurrencyLimit:
    """Lets at most `most` pieces of background work run at once; what comes beyond that waits in memory.

    The thread that brought it goes back to the pool at once. What waits is lost with the process, as a message may be:
    its steps are released and unheld, and the sweep publishes them again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = 0
        self._closed = False

    def run(self, work: Callable[[], None]) -> None:
        """Do it now and then what came meanwhile, or leave it to a thread that is at work already."""
        with self._lock:
            if self._running >= self._most:
                self._waiting.append(work)
                return
            self._running += 1
        following: Callable[[], None] | None = work
        try:
            while following is not None:
                with surviving("background work failed unexpectedly; the sweep finds its steps"):
                    following()
                following = self._next()
        except BaseException:
            with self._lock:
                self._running -= 1
            raise

    def close(self) -> None:
        """Begin nothing more: the process is stopping."""
        with self._lock:
            self._closed = True
            self._waiting.clear()

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._waiting and not self._closed:
                return self._waiting.popleft()
            self._running -= 1
            return None
