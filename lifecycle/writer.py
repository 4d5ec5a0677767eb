"""Group commit: one thread writes down the records of many steps in one transaction; each caller waits for its own.

What arrives while a commit is under way makes up the next one, and while many steps are at work the writer waits a
moment for more: a group costs as much as ten of its records. When a group fails, its records are written one by one,
so that one bad record never holds up its neighbours. While PostgreSQL is away the group waits for it, up to `patience`
seconds; a record that is given up leaves a claim that lapses, and the step is done again, idempotently.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from lifecycle.outcome import Claim, Record
from lifecycle.record import record
from lifecycle.steps import StepRef
from rpc.background import thread

log = logging.getLogger(__name__)

LARGEST = 256  # records in one transaction: a few milliseconds' work, so that no caller waits long for others
PAUSE = 0.25  # seconds between two looks for PostgreSQL
FEW = 32  # steps at work: with no more of them nobody waits for others
WAIT_PER_STEP, LONGEST_WAIT = 0.0004, 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a record: whether its claim was `ours` still, and the claim to go on with."""

    ours: bool
    following: Claim | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record, or an operation to wake."""

    item: Record | UUID
    done: Future[Written] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.done.set_running_or_notify_cancel()  # a caller that gives up cancels nothing: it will be written


class Writer:
    """The writer thread of a worker process.

    Args:
        publish: gets what became due, after each commit; must return at once and never raise.
        patience: seconds to wait for PostgreSQL before records are given up.
    """

    def __init__(self, engine: Engine, publish: Callable[[list[StepRef]], None], *, patience: int = 20) -> None:
        self._engine = engine
        self._publish = publish
        self._patience = patience
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._thread = thread(self._run, "writer")
        self.groups = 0
        self.records = 0
        self._expected = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is waiting, then end."""
        self._queue.put(None)
        self._thread.join()

    def expect(self) -> None:
        """A step begins whose record will be submitted; by the thread that submits."""
        self._expected += 1

    def submit(self, record: Record) -> Future[Written]:
        """Write it down; the future is done after the commit."""
        self._expected = max(0, self._expected - 1)
        entry = _Entry(record)
        self._queue.put(entry)
        return entry.done

    def wake(self, operation: UUID) -> Future[Written]:
        """Refill this operation's window: a step that backed off is due."""
        entry = _Entry(operation)
        self._queue.put(entry)
        return entry.done

    def _run(self) -> None:
        more = True
        while more:
            entries, more = self._gather()
            if entries:
                self._write(entries)

    def _gather(self) -> tuple[list[_Entry], bool]:
        found = [self._queue.get()]
        if found[0] is not None and self._expected > FEW:
            sleep(min(LONGEST_WAIT, self._expected * WAIT_PER_STEP))
        while len(found) < LARGEST and found[-1] is not None:
            try:
                found.append(self._queue.get_nowait())
            except Empty:
                break
        entries = [entry for entry in found if entry is not None]
        return entries, len(entries) == len(found)

    def _write(self, entries: Sequence[_Entry]) -> None:
        until = monotonic() + self._patience
        while True:
            try:
                self._commit(entries)
            except SQLAlchemyError as error:
                if _passes(error) and monotonic() < until:
                    sleep(PAUSE)
                    continue
                self._one_by_one(entries, error)
            except Exception as error:  # noqa: BLE001 - each caller gets it; the thread goes on
                self._one_by_one(entries, error)
            return

    def _one_by_one(self, entries: Sequence[_Entry], error: Exception) -> None:
        if len(entries) == 1:
            log.error("a record was not written: %s", type(error).__name__)
            entries[0].done.set_exception(error)
            return
        log.warning("a group of %d records failed (%s); writing them one by one", len(entries), type(error).__name__)
        for entry in entries:
            self._write([entry])

    def _commit(self, entries: Sequence[_Entry]) -> None:
        records = [entry.item for entry in entries if isinstance(entry.item, Record)]
        wakes = [entry.item for entry in entries if isinstance(entry.item, UUID)]
        with self._engine.begin() as connection:
            ours, refs, following = record(connection, records, wakes)
        self.groups += 1
        self.records += len(records)
        self._publish(refs)
        were_ours = iter(ours)
        for entry in entries:
            if isinstance(entry.item, UUID):
                entry.done.set_result(Written(ours=True))
            elif next(were_ours):  # a claim's second record is not ours: it does not go on
                entry.done.set_result(Written(True, following.get(entry.item.claim.id)))
            else:
                entry.done.set_result(Written(ours=False))


def _passes(error: SQLAlchemyError) -> bool:
    """Whether it is worth waiting: PostgreSQL is away, restarting or busy, or two transactions met."""
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    return invalidated or isinstance(error, OperationalError | PoolTimeoutError)
