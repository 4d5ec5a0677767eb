"""Work on slivers that nobody waits for: beside one another, each under its own deadline, none twice at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from trust.errors import Code, Refusal

DRIVER_SECONDS = 40  # a whole call ends within 45 s (docs/lifecycle.md, "Operations and steps")
MOST = 8

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Beside:
    """The work of one node; of each kind at most `most` at once, so that a crowd of it leaves the node to its callers,
    and removals that are stuck hold up no stop."""

    most: int = MOST

    _tasks: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)
    _rooms: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def begin(self, what: str, slice: str, work: Callable[[], Awaitable[None]]) -> None:
        """Begin it, unless it is under way. What goes wrong is logged: who begins it looks again whether it is done.

        Args:
            what: is done to the slice: "remove the sliver of", say.
        """
        key = (what, slice)
        if key not in self._tasks:
            room = self._rooms.setdefault(what, asyncio.Semaphore(self.most))
            task = asyncio.create_task(self._quietly(f"{what} {slice}", room, work))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def finished(self, seconds: float | None = None) -> None:
        """Wait for what is under way, for so long at most."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=seconds)

    async def _quietly(self, what: str, room: asyncio.Semaphore, work: Callable[[], Awaitable[None]]) -> None:
        """One sliver's trouble is not the others'."""
        async with room:
            try:
                async with deadline(f"to {what}"):
                    await work()
            except Refusal as refusal:
                log.warning("cannot %s: %s", what, refusal.reason)
            except Exception:
                log.exception("cannot %s", what)


@asynccontextmanager
async def deadline(what: str) -> AsyncIterator[None]:
    """Around a driver's call. Refusal(TIMEOUT) when it takes longer than `DRIVER_SECONDS`; it may go on by itself."""
    try:
        async with asyncio.timeout(DRIVER_SECONDS):
            yield
    except TimeoutError:
        raise Refusal(Code.TIMEOUT, f"{what} took more than {DRIVER_SECONDS} s; try again") from None
