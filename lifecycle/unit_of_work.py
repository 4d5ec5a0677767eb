"""The counters of open operations, locked for one transaction: who may release steps, number events, end operations.

The last of the three files of a step's outcome (`lifecycle/outcome.py`).

Whoever changes steps takes the operations' rows first, in id order, changes the all_counters, and settles: windows are
refilled, events numbered, ended operations closed, listeners told, all in the same transaction.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, select, text

from lifecycle.events import CHANNEL, EventType
from lifecycle.hooks import Ended, operations_ended
from lifecycle.rows import of_row
from lifecycle.steps import Hold, NewStep, StepRef
from models import svm
from models.states import Kind, Outcome, Queue, StepState, Verb

IDS_A_NOTIFY = 200  # PostgreSQL takes payloads below 8,000 bytes; an id and its space are 37

_RELEASE = text("""
    UPDATE svm.step SET state = 'released', published_at = now(), publishes = 1
    FROM (SELECT held.id FROM unnest(CAST(:ids AS uuid[]), CAST(:rooms AS int[])) AS w(operation, room)
          CROSS JOIN LATERAL (SELECT id FROM svm.step WHERE operation = w.operation AND state = 'held'
                              AND next_run_at <= now() ORDER BY id LIMIT w.room) held) due
    WHERE step.id = due.id
    RETURNING step.id, step.operation, step.kind, step.node
""")

_TELL = text("""
    INSERT INTO svm.event (operation, seq, slice, actor, type, node, kind, before, after, ok, code, reason, detail)
    SELECT operation, seq, slice, actor, type, node, kind, before, after, ok, code, reason, detail
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS e(operation uuid, seq int, slice uuid, actor text, type text,
         node text, kind text, before text, after text, ok boolean, code text, reason text, detail jsonb)
""")

# A step that follows in the same slot is released at once, or claimed; the others wait for the window.
_ADD = text("""
    INSERT INTO svm.step (operation, slice, node, kind, state, published_at, publishes, claim_token, claim_worker,
        claim_until, attempts, started_at)
    SELECT u.operation, u.slice, u.node, u.kind, u.state,
        CASE WHEN u.state <> 'held' THEN now() END, CASE WHEN u.state <> 'held' THEN 1 ELSE 0 END,
        u.token, u.worker, now() + make_interval(secs => u.seconds),
        CASE WHEN u.state = 'running' THEN 1 ELSE 0 END, CASE WHEN u.state = 'running' THEN now() END
    FROM ROWS FROM (jsonb_to_recordset(CAST(:rows AS jsonb)) AS (operation uuid, slice uuid, node text, kind text,
         state text, token uuid, worker int, seconds int))
         WITH ORDINALITY AS u(operation, slice, node, kind, state, token, worker, seconds, at)
    ORDER BY u.at
    ON CONFLICT DO NOTHING
    RETURNING id, operation, node, kind, state, claim_token, now() AS now
""")

_SAVE = text("""
    UPDATE svm.operation AS o
    SET open_steps = u.open_steps, in_flight = u.in_flight, seq = u.seq, ok = u.ok, failed = u.failed,
        outcome = u.outcome, code = u.code, reason = u.reason,
        ended_at = CASE WHEN u.outcome IS NOT NULL THEN coalesce(o.ended_at, now()) END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS u(id uuid, open_steps int, in_flight int, seq int, ok int,
         failed int, outcome text, code text, reason text)
    WHERE o.id = u.id
""")


@dataclass(slots=True)
class OperationCounters:
    """One operation's row while it is locked. Change the numbers; `UnitOfWork.settle` writes them."""

    id: UUID
    slice: UUID | None
    slice_name: str
    verb: Verb
    queue: Queue
    batch: int
    actor: str
    parallelism: int
    options: dict[str, Any]
    open_steps: int
    in_flight: int
    seq: int
    ok: int
    failed: int
    started_at: datetime
    cancelled: bool
    ended: bool
    outcome: Outcome | None = None
    code: str | None = None
    reason: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def wants_refill(self) -> bool:
        """Whether held steps may be released: in large windows not each slot by itself, so that steps share messages;
        a quarter of a message's ids, but never more than an eighth of the window, stays empty meanwhile."""
        held, room = self.open_steps - self.in_flight, self.parallelism - self.in_flight
        return held > 0 and room >= max(1, min(held, self.batch // 4, self.parallelism // 8))

    @property
    def silent(self) -> bool:
        """Rounds over all nodes (reconcile, canary) have no reader: nothing but their counters is kept."""
        return self.slice is None and self.verb in (Verb.RECONCILE, Verb.CANARY)

    @property
    def has_just_ended(self) -> bool:
        """Whether this transaction tells its end, of which somebody may want to know."""
        return self.slice is not None and any(event["type"] is EventType.ENDED for event in self.events)

    def say(self, type: EventType, **fields: Any) -> None:
        """Add an event under the next number."""
        if self.silent:
            return
        self.seq += 1
        blank = dict.fromkeys(("node", "kind", "before", "after", "ok", "code", "reason"))
        known = {"operation": self.id, "seq": self.seq, "slice": self.slice, "actor": self.actor, "type": type}
        self.events.append({**blank, "detail": {}, **known, **fields})

    def ref(self, row: Row[Any]) -> StepRef:
        """How to publish one of its steps."""
        return StepRef(Kind(row.kind), row.id, self.queue, self.batch, self.slice_name, row.node, self.id)


class UnitOfWork:
    """The all_counters of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counters: dict[UUID, OperationCounters] = {}

    def lock(self, ids: Iterable[UUID]) -> None:
        """Take these operations' rows, in id order, before anything else is locked."""
        wanted = sorted(set(ids) - self._counters.keys())
        if wanted:
            rows = select(svm.operation).where(svm.operation.c.id.in_(wanted)).order_by(svm.operation.c.id)
            for row in self._connection.execute(rows.with_for_update()):
                self._counters[row.id] = _counters_of(row)

    def lock_open(self, slice_row: UUID) -> None:
        """Take all open operations of a slice."""
        self.lock(self._connection.scalars(_open_of(slice_row)))
        self._counters = {id: counters for id, counters in self._counters.items() if not counters.ended}

    def has_all_of(self, slice_row: UUID) -> bool:
        """Whether every open operation of the slice is locked here."""
        return set(self._connection.scalars(_open_of(slice_row))) <= self._counters.keys()

    def add(self, row: Row[Any]) -> OperationCounters:
        """A row that this transaction has just inserted."""
        self._counters[row.id] = made = _counters_of(row)
        return made

    def __getitem__(self, id: UUID) -> OperationCounters:
        return self._counters[id]

    def __contains__(self, id: UUID) -> bool:
        return id in self._counters

    def __iter__(self) -> Iterator[OperationCounters]:
        return iter(self._counters.values())

    def add_steps(self, steps: Iterable[NewStep]) -> list[StepRef]:
        """Insert steps of locked operations and count them; those that are released at once, to publish."""
        added = self._add([_new_step(step, self._counters[step.operation]) for step in steps])
        return [self._counters[row.operation].ref(row) for row in added if row.state == StepState.RELEASED]

    def add_claimed(self, steps: Iterable[NewStep], token: UUID, hold: Hold) -> dict[NewStep, Row[Any]]:
        """Insert steps that take over slots and are claimed already; those that were not there before, as rows."""
        claimed = {"state": StepState.RUNNING, "token": str(token), "worker": hold.worker, "seconds": hold.seconds}
        wanted = {(step.operation, step.node, step.kind): step for step in steps}
        added = self._add([_new_step(step, self._counters[step.operation]) | claimed for step in wanted.values()])
        return {wanted[row.operation, row.node, Kind(row.kind)]: row for row in added}

    def _add(self, steps: Sequence[dict[str, Any]]) -> Sequence[Row[Any]]:
        rows = self._connection.execute(_ADD, {"rows": json.dumps(steps)}).all() if steps else ()
        for row in rows:
            counters = self._counters[row.operation]
            counters.open_steps += 1
            counters.in_flight += row.state != StepState.HELD
        return rows

    def settle(self) -> list[StepRef]:
        """Refill windows, end what has no open step, write events and counters, NOTIFY once. What to publish."""
        refs = self._refill()
        for counters in self._counters.values():
            _end_if_empty(counters)
        self._write()
        return refs

    def _refill(self) -> list[StepRef]:
        rooms = {t.id: t.parallelism - t.in_flight for t in self._counters.values() if t.wants_refill}
        if not rooms:
            return []
        refs = []
        for row in self._connection.execute(_RELEASE, {"ids": list(rooms), "rooms": list(rooms.values())}):
            counters = self._counters[row.operation]
            counters.in_flight += 1
            refs.append(counters.ref(row))
        return sorted(refs, key=lambda ref: ref.id)

    def _write(self) -> None:
        all_counters = list(self._counters.values())
        events = [event for counters in all_counters for event in counters.events]
        if events:
            self._connection.execute(_TELL, {"rows": json.dumps(events, default=str)})
        if all_counters:
            self._connection.execute(_SAVE, {"rows": json.dumps([_saved(counters) for counters in all_counters])})
        operations_ended(self._connection, [_ended(counters) for counters in all_counters if counters.has_just_ended])
        notify(self._connection, [counters.id for counters in all_counters if counters.events])
        for counters in all_counters:
            counters.events.clear()


def notify(connection: Connection, operations: Sequence[UUID]) -> None:
    """Tell listeners that these operations have news; delivered at commit."""
    for start in range(0, len(operations), IDS_A_NOTIFY):
        payload = " ".join(str(id) for id in operations[start : start + IDS_A_NOTIFY])
        connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


def outcome_of(counters: OperationCounters) -> Outcome:
    """How an operation without open steps ended."""
    if counters.cancelled:
        return Outcome.CANCELLED
    if counters.failed or counters.code:
        return Outcome.PARTIAL if counters.ok else Outcome.FAILED
    return Outcome.DONE


def _open_of(slice_row: UUID) -> Select[tuple[UUID]]:
    return select(svm.operation.c.id).where(svm.operation.c.slice == slice_row, svm.operation.c.ended_at.is_(None))


def _end_if_empty(counters: OperationCounters) -> None:
    if counters.ended or counters.open_steps:
        return
    counters.ended, counters.outcome = True, outcome_of(counters)
    detail = {"outcome": counters.outcome, "ok": counters.ok, "failed": counters.failed}
    counters.say(
        EventType.ENDED, code=counters.code, reason=counters.reason, ok=counters.outcome is Outcome.DONE, detail=detail
    )


def _ended(counters: OperationCounters) -> Ended:
    return Ended(**{name: getattr(counters, name) for name in Ended.__dataclass_fields__})


def _new_step(step: NewStep, counters: OperationCounters) -> dict[str, Any]:
    state = StepState.RELEASED if step.released else StepState.HELD
    slice_row = step.slice or counters.slice
    about = {"operation": str(counters.id), "slice": str(slice_row) if slice_row else None}
    return {**about, "node": step.node, "kind": step.kind, "state": state}


def _saved(counters: OperationCounters) -> dict[str, Any]:
    names = ("open_steps", "in_flight", "seq", "ok", "failed", "outcome", "code", "reason")
    return {"id": str(counters.id), **{name: getattr(counters, name) for name in names}}


def _counters_of(row: Row[Any]) -> OperationCounters:
    return of_row(
        OperationCounters,
        row,
        verb=Verb(row.verb),
        queue=Queue(row.queue),
        cancelled=row.cancelled_at is not None,
        ended=row.ended_at is not None,
        outcome=Outcome(row.outcome) if row.outcome else None,
        events=[],
    )
