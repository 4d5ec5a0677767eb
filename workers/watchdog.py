"""A worker that is deaf ends itself, so that whoever supervises it starts it anew.

Seen with Redis: a worker that lost its connection at the wrong moment goes on living and takes no message. Beat's
canaries keep messages coming; when one of the due steps has waited for long and this worker has heard nothing for as
long, it is the worker's fault.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.states import Queue
from models.sweeps import oldest_due
from tasks.workshop import Workshop

log = logging.getLogger(__name__)

LOOK_SECONDS = 5
LAST_WORD_SECONDS = 60  # for a warm stop, before the process ends without one


class Watchdog:
    """A thread that looks now and then.

    Args:
        queues: those that this worker serves.
        limit: seconds of silence while a step waits; 0 = never ends anything.
        end: what ends the process (tests pass their own).
    """

    def __init__(
        self,
        database: Engine,
        workshop: Workshop,
        queues: Sequence[Queue],
        limit: int,
        end: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._workshop = workshop
        self._queues = queues
        self._limit = limit
        self._end = end or end_process
        self._stop = Event()
        self._thread = Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def is_deaf(self) -> bool:
        """Whether a message must have come, and none did. A database that is away proves nothing."""
        silence = time.monotonic() - self._workshop.heard
        if not self._limit or silence < self._limit:
            return False
        try:
            with self._database.connect() as connection:
                return oldest_due(connection, self._queues) > self._limit
        except SQLAlchemyError:
            return False

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            if self.is_deaf():
                log.critical("no message for %d s while steps wait: this worker ends itself", self._limit)
                self._end()
                return


def end_process() -> None:
    """Warm if it can, hard if it cannot."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORD_SECONDS)
    os._exit(70)
