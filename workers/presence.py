"""A worker's claims are its while its own database session lasts; when it is killed, others go on at once.

Each worker holds its lock in such a session (`lifecycle/presence.py`) and looks each second who does not. A worker that
is missed three times in a row is dead: its claims lapse, and what it had is published again by the sweep's own query.
The first look that finds it does so; the rest find nothing.

A worker that is stopped, or too busy to look, keeps its session and so its claims. When PostgreSQL has been away all
sessions have ended, and their workers live: so who had to come back misses nobody until the others have had time to.
"""

import logging
import os
import signal
from threading import Event

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from lifecycle.presence import absent, backing_off, enter, leave, release_claims
from lifecycle.recovery import MOST
from lifecycle.upgrading import require_no_newer
from rpc.background import surviving, thread
from tasks.context import WorkerContext
from tasks.step import wake_later
from tasks.sweep import recover
from trust.errors import Refusal
from workers.republisher import PAUSE

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
MISSED = 3  # looks in a row before a worker counts as dead: one whose session alone broke is back by then
SETTLING = 10  # looks after coming back in which nobody is missed: others may need a connect timeout more


class Presence:
    """A thread with a session of its own. `worker_context.worker` is this worker's number while the session lasts."""

    def __init__(self, database: Engine, worker_context: WorkerContext) -> None:
        self._database = database
        self._worker_context = worker_context
        self._number: int | None = None
        self._session: Connection | None = None
        self._missed: dict[int, int] = {}
        self._settling = 0
        self._ending = False
        self._stop = Event()
        self._thread = thread(self._run, "presence")

    def start(self) -> None:
        """Be there, and begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Go, when no claim is left."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """One look; be there first. Raises SQLAlchemyError while PostgreSQL is away, Refusal as `require_no_newer`."""
        session = self._session or self._enter()
        found = absent(session)
        if self._number in found:  # somebody between us and PostgreSQL has changed the session
            self._away()
            return
        if self._settling:
            self._settling -= 1
            return
        self._missed = {worker: self._missed.get(worker, 0) + 1 for worker in found}
        dead = [worker for worker, looks in self._missed.items() if looks >= MISSED]
        if dead:
            self._release_claims(dead)

    def _run(self) -> None:
        while True:
            with surviving("no look for dead workers; their claims lapse later"):
                self._try()
            if self._stop.wait(LOOK_SECONDS):
                break
        with surviving("this worker is still written down; another strikes it out"):
            self._leave()

    def _try(self) -> None:
        try:
            self.look()
        except SQLAlchemyError as error:
            if self._session is not None:
                log.warning("this worker's session has ended (%s): it comes back", type(error).__name__)
            self._away()
        except Refusal as refusal:
            if not self._ending:
                self._ending = True
                log.critical("%s; this worker ends itself", refusal.reason)
                _end()

    def _enter(self) -> Connection:
        # Out of the pool for good: closing it ends the session, and with it the lock.
        session = self._database.connect().execution_options(isolation_level="AUTOCOMMIT")
        session.detach()
        try:
            self._number = enter(session, self._number)
            require_no_newer(session)
        except BaseException:
            session.close()
            raise
        self._session, self._worker_context.worker = session, self._number
        return session

    def _away(self) -> None:
        """Claims made meanwhile are nobody's, and only lapse."""
        self._worker_context.worker = None
        self._missed, self._settling = {}, SETTLING
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _release_claims(self, dead: list[int]) -> None:
        with self._database.begin() as connection:
            gone, claims = release_claims(connection, dead)
            waiting = backing_off(connection, MOST) if gone else []
        if not gone:
            return
        log.warning("workers %s are gone: %d steps that they had claimed go on", gone, claims)
        recover(PAUSE)
        for operation, seconds in waiting:
            self._worker_context.loop.call_soon_threadsafe(wake_later, self._worker_context, operation, seconds)

    def _leave(self) -> None:
        self._worker_context.worker = None
        session, self._session = self._session, None
        if session is None or self._number is None:
            return
        try:
            leave(session, self._number)
        except SQLAlchemyError:
            log.warning("this worker is still written down; another strikes it out")
        finally:
            session.close()


def _end() -> None:
    """As told by its supervisor: what is at work is finished."""
    os.kill(os.getpid(), signal.SIGTERM)
