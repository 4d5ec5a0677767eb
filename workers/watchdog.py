"""A worker that is deaf ends itself, so that whoever supervises it starts it anew.

Seen with Redis: a worker that lost its connection at the wrong moment goes on living and takes no message. Beat's
canaries keep messages coming; when one of the due steps has waited for long and this worker has heard nothing for as
long, it is the worker's fault. A canary is begun by a worker, though, so that one that is deaf and alone would never
see a step wait: after half that time in silence it begins one by itself.
"""

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from lifecycle.recovery import oldest_due
from lifecycle.steps import StepRef
from models.states import Queue
from rpc.background import end_process, surviving, thread
from tasks.canary import begin
from tasks.context import WorkerContext

log = logging.getLogger(__name__)

CHECK_SECONDS = 5
ACTOR = "worker"  # of a canary that no beat asked for


class Watchdog:
    """A thread that looks now and then.

    Args:
        queues: those that this worker serves.
        limit: seconds of silence while a step waits; 0 = never ends anything.
        end: what ends the process (tests pass their own).
        publish: where the step of a canary goes that it begins itself.
    """

    def __init__(
        self,
        database: Engine,
        worker_context: WorkerContext,
        queues: Sequence[Queue],
        limit: int,
        end: Callable[[], None] | None = None,
        publish: Callable[[list[StepRef]], None] | None = None,
    ) -> None:
        self._database = database
        self._worker_context = worker_context
        self._queues = queues
        self._limit = limit
        self._end = end or end_process
        self._publish = publish or _nowhere
        self._stop = Event()
        self._thread = thread(self._run, "watchdog")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def is_deaf(self) -> bool:
        """Whether a message must have come, and none did. A database that is away proves nothing."""
        silence = time.monotonic() - self._worker_context.heard
        if not self._limit or silence < self._limit / 2:
            return False
        try:
            with self._database.begin() as connection:
                waited = oldest_due(connection, self._queues)
                canary = begin(connection, self._worker_context.identity, ACTOR) if self._may_begin(waited) else []
        except SQLAlchemyError:
            return False
        self._publish(canary)
        return silence >= self._limit and waited > self._limit

    def _may_begin(self, waited: float) -> bool:
        return waited == 0 and Queue.HOUSEKEEPING in self._queues

    def _run(self) -> None:
        while not self._stop.wait(min(CHECK_SECONDS, self._limit / 4 or CHECK_SECONDS)):
            deaf = False
            with surviving("the watchdog could not look; trying again"):
                deaf = self.is_deaf()
            if deaf:
                log.critical("no message for %d s while steps wait: this worker ends itself", self._limit)
                self._end()
                return


def _nowhere(refs: list[StepRef]) -> None:
    """The sweep publishes them."""
