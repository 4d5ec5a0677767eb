"""After the broker or PostgreSQL were away, what was lost meanwhile is published again at once.

The sweep would do it too, but waits before it calls a step lost, and beat may be slow to find its broker again.
"""

import logging
from threading import Event
from typing import Any

from celery import bootsteps
from sqlalchemy.exc import SQLAlchemyError

from rpc.background import surviving, thread
from tasks.context import worker_context
from tasks.sweep import recover

log = logging.getLogger(__name__)

PAUSE = 1
"""Seconds from their return to the look, and the age from which a message counts as lost: what was sent in vain is
older by then, and of many workers that connect again together the first one finds it all."""


class Connected(bootsteps.StartStopStep):
    """Celery starts it each time the worker has connected to the broker and consumes again."""

    requires = ("celery.worker.consumer:Tasks",)

    def start(self, parent: Any) -> None:
        """What was published until now may be lost."""
        worker_context().missed.set()


class Republisher:
    """A thread that publishes lost steps again once both are there. `missed`: something may have been lost."""

    def __init__(self, missed: Event) -> None:
        self._missed = missed
        self._stop = Event()
        self._thread = thread(self._run, "republisher")

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._missed.set()
        self._thread.join()

    def _run(self) -> None:
        while self._missed.wait() and not self._stop.wait(PAUSE):
            self._missed.clear()
            with surviving("no look for lost steps; the sweep finds them"):
                self._republish()

    def _republish(self) -> None:
        try:
            recover(PAUSE)
            log.info("broker and database are there: looked for lost steps")
        except SQLAlchemyError:
            self._missed.set()
