"""What runs beside the calls for as long as the process does: it survives what goes wrong, or ends the process loudly.

```
surviving   a round: whatever goes wrong in it is logged, and the next round comes
repeat      a round after the other, for ever
thread      all rounds, in a thread      an exception outside of every round means that the work would stop for good
Tasks       all rounds, as tasks         without a word: so the process ends, and its supervisor starts it anew
```
"""

import asyncio
import atexit
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, Self

from trust.errors import Refusal

log = logging.getLogger(__name__)

WARM_SECONDS = 50  # for a warm stop: a worker's step may last 45 s
EXIT_STATUS = 70  # "internal software error" (sysexits.h)


@contextmanager
def surviving(what: str, *details: object) -> Iterator[None]:
    """Log what goes wrong in one round (a refusal in one line), and go on; `details` are for the `%s` in `what`."""
    try:
        yield
    except Refusal as refusal:
        log.warning(f"{what}: %s", *details, refusal.reason)  # noqa: G004 - the format itself is put together
    except Exception:
        log.exception(what, *details)


async def repeat(look: Callable[[], Awaitable[None]], seconds: float, what: str, *details: object) -> None:
    """`look` again and again, `seconds` after the last one ended; each ``surviving``."""
    while True:
        with surviving(what, *details):
            await look()
        await asyncio.sleep(seconds)


async def within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, for so long at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def thread(work: Callable[[], None], name: str) -> Thread:
    """A thread, not started yet, which ends with the process; if it ends by an exception, the process ends too."""

    def run() -> None:
        try:
            work()
        except Exception:
            log.critical("%s has ended unexpectedly, and this process with it", name, exc_info=True)
            end_process()

    return Thread(target=run, name=name, daemon=True)


class Tasks:
    """Tasks of one loop, which end at the latest with the ``async with``."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it run; one that ends by an exception ends the process, one that returns is done."""
        task = asyncio.create_task(work)
        task.add_done_callback(_look_at)
        self._tasks.append(task)

    async def stop(self) -> None:
        """End them, and wait for that."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, Exception):  # what it ended by is in the log
                await task


def end_process(patience: float = WARM_SECONDS) -> None:
    """Warm if it can within ``patience`` seconds, hard if it cannot; its exit status is 70 in either case."""
    atexit.register(_fail)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience)
    os._exit(EXIT_STATUS)


def _fail() -> None:
    """In the place of the status of an ordinary end."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(EXIT_STATUS)


def _look_at(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        name = getattr(task.get_coro(), "__qualname__", task.get_name())
        log.critical("%s has ended unexpectedly, and this process with it", name, exc_info=error)
        Thread(target=end_process, name="end", daemon=True).start()
