"""Operations: a verb that a user or beat asked for, written down with its first steps in one transaction.

`start` is called inside the caller's transaction; after its commit the caller publishes what it returned. Losing
that call loses nothing: the sweep publishes what is due and unheld.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, insert, select, text

from lifecycle.bounds import require_room
from lifecycle.events import EventType
from lifecycle.planning import plan
from lifecycle.requests import BEAT, LETTER, Given, Operation, OperationRequest, Plan, SliceSpec, Started
from lifecycle.rows import of_row
from lifecycle.steps import NewStep, StepRef
from lifecycle.unit_of_work import OperationCounters, UnitOfWork
from models import svm
from models.states import Kind, Outcome, Queue, Verb
from trust.errors import Code, Refusal
from trust.identity import Identity

__all__ = [
    "BEAT",
    "LETTER",
    "Given",
    "Operation",
    "OperationRequest",
    "Plan",
    "SliceSpec",
    "Started",
    "StepRef",
    "Verb",
    "cancel",
    "read",
    "start",
]

CANCELLING = (Verb.DELETESLICE, Verb.UNDELEGATE)  # what else is under way on the slice ends at once
TASK_A_NODE = 64  # up to so many nodes a message carries one step, so that Flower shows a task per node
BATCH, LARGEST_BATCH = 16, 64  # ids in a message of a larger one: an eighth of its window, within these bounds

_END_STEPS = text("""
    UPDATE svm.step AS s SET state = 'failed', claim_token = NULL, claim_until = NULL, ended_at = now(),
        error_code = 'cancelled', error = :reason
    FROM (SELECT id, state AS was FROM svm.step WHERE operation = ANY(:operations) AND state = ANY(:states)
          ORDER BY id FOR UPDATE) AS u
    WHERE s.id = u.id
    RETURNING s.operation, s.node, s.kind, u.was
""")


def start(connection: Connection, request: OperationRequest) -> Started:
    """Write the operation, its steps and what it changes at once (keys, state deleting), in the caller's transaction.

    Raises Refusal: BUSY (detail `operation`: the open one), NOT_FOUND, NOT_OWNER, NAME_TAKEN (a complete slice that
    lives, or somebody else's name), NOT_ALLOWED (a delegation that was withdrawn), OVER_CAPACITY, BAD_INPUT.
    """
    _wait_for_same_request(connection, request)
    work, row = UnitOfWork(connection), None
    if request.verb in CANCELLING:
        work, row = _lock_everything(connection, request)
    elif request.slice:
        row = lock_named(connection, request.slice)
    if (again := _same_request(connection, request)) is not None:
        return again
    require_room(connection, request)
    planned = plan(connection, request, row)
    _cancel(connection, list(work), f"{request.verb} was asked for", work, running=True)
    work.settle()
    operation, refs = _open(connection, request, planned)
    return Started(operation, planned.name, refs)


def open_planned(connection: Connection, request: OperationRequest, plan: Plan) -> list[StepRef]:
    """For beat: an operation whose steps are decided already; what to publish after the commit."""
    return _open(connection, request, plan)[1]


def cancel(connection: Connection, operation: UUID) -> list[StepRef]:
    """End what has not begun; steps at work finish and are recorded, nothing follows them. Idempotent.

    The caller has checked that the operation is the user's own (`read`). Raises Refusal: NOT_FOUND, NOT_ALLOWED (a
    deletion is not cancelled).
    """
    work = UnitOfWork(connection)
    work.lock([operation])
    if operation not in work:
        raise Refusal(Code.NOT_FOUND, f"no operation {operation}; see: svm watch SLICE")
    counters = work[operation]
    if counters.verb is Verb.DELETESLICE:
        raise Refusal(
            Code.NOT_ALLOWED, "a deletion cannot be cancelled once it has begun: svm watch SLICE follows it to its end"
        )
    if counters.ended or counters.cancelled:
        return []
    _cancel(connection, [counters], "svm cancel", work, running=False)
    return work.settle()


def read(connection: Connection, operation: UUID) -> Operation:
    """One operation. Raises Refusal(NOT_FOUND)."""
    row = connection.execute(select(svm.operation).where(svm.operation.c.id == operation)).one_or_none()
    if row is None:
        raise Refusal(Code.NOT_FOUND, f"no operation {operation}; see: svm watch SLICE")
    return _operation(row)


def ended_within(connection: Connection, seconds: int) -> list[Operation]:
    """What has ended in the last seconds, the oldest end first; rounds that beat makes over all nodes only if they
    failed."""
    table = svm.operation
    lately = table.c.ended_at > func.now() - timedelta(seconds=seconds)
    told = table.c.slice.is_not(None) | (table.c.actor != BEAT) | (table.c.outcome != Outcome.DONE)
    return [_operation(row) for row in connection.execute(select(table).where(lately, told).order_by(table.c.ended_at))]


def open_of(connection: Connection, slice_row: UUID) -> list[Operation]:
    """Open operations of a slice, oldest first (`svm watch SLICE` follows the newest)."""
    table = svm.operation
    query = select(table).where(table.c.slice == slice_row, table.c.ended_at.is_(None)).order_by(table.c.started_at)
    return [_operation(row) for row in connection.execute(query)]


def latest_of(connection: Connection, slice_row: UUID, limit: int = 20) -> list[Operation]:
    """The newest operations of a slice, newest first."""
    table = svm.operation
    query = select(table).where(table.c.slice == slice_row).order_by(table.c.started_at.desc()).limit(limit)
    return [_operation(row) for row in connection.execute(query)]


def lock_named(connection: Connection, name: str) -> Row[Any] | None:
    """The open slice of that name, else the newest that is being deleted; all of them are locked until the transaction
    ends."""
    table = svm.slice_table
    named = select(table).where(table.c.name == name, table.c.state != "deleted").order_by(table.c.id)
    # KEY SHARE, which inserted steps and events take on their slice, may go on beside this.
    rows = connection.execute(named.with_for_update(key_share=True)).all()
    return max(rows, key=lambda row: (row.state, row.created_at), default=None)


def _lock_everything(connection: Connection, request: OperationRequest) -> tuple[UnitOfWork, Row[Any] | None]:
    """The slice and all its open operations, operations first as records do.

    An operation that began between the two looks is caught by looking again; the savepoint gives all locks back.
    """
    while True:
        attempt, work = connection.begin_nested(), UnitOfWork(connection)
        seen = connection.scalar(_newest(request))
        if seen is not None:
            work.lock_open(seen)
        row = lock_named(connection, request.slice)
        if row is None or (row.id == seen and work.has_all_of(row.id)):
            attempt.commit()
            return work, row
        attempt.rollback()


def _newest(request: OperationRequest) -> Any:
    table = svm.slice_table
    found = select(table.c.id).where(table.c.name == request.slice, table.c.state != "deleted")
    return found.order_by(table.c.state.desc(), table.c.created_at.desc()).limit(1)


def _wait_for_same_request(connection: Connection, request: OperationRequest) -> None:
    """Until the same request, sent twice at once, is written down; then the second finds the first's operation."""
    if request.idempotency_key is not None:
        key = f"{request.owner} {request.verb} {request.idempotency_key}"
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


def _same_request(connection: Connection, request: OperationRequest) -> Started | None:
    if request.idempotency_key is None:
        return None
    table = svm.operation
    same = select(table.c.id, table.c.slice_name).where(
        table.c.owner == str(request.owner),
        table.c.verb == request.verb,
        table.c.idempotency_key == request.idempotency_key,
    )
    row = connection.execute(same).one_or_none()
    return Started(row.id, row.slice_name, [], existing=True) if row else None


def _open(connection: Connection, request: OperationRequest, plan: Plan) -> tuple[UUID, list[StepRef]]:
    work = UnitOfWork(connection)
    values = {
        "slice": plan.slice,
        "slice_name": plan.name,
        "verb": request.verb,
        "queue": queue_of(request),
        "owner": str(request.owner),
        "actor": request.actor,
        "parallelism": request.parallelism,
        "connect_timeout": request.connect_timeout,
        "batch": batch_of(request, plan),
        "options": {
            "replace": request.replace,
            "stays": request.stays,
            "by_itself": request.actor == BEAT,
            "by_link": request.actor == LETTER,
        },
        "idempotency_key": request.idempotency_key,
    }
    row = connection.execute(insert(svm.operation).values(values).returning(svm.operation)).one()
    counters = work.add(row)
    work.add_steps(NewStep(row.id, Kind.DELETE, node, slice=of) for of, node in plan.earlier)
    work.add_steps(NewStep(row.id, kind, node) for kind, node in plan.steps)
    steps = len(plan.earlier) + len(plan.steps)
    counters.say(EventType.STARTED, detail={"verb": request.verb, "steps": steps, "nodes": plan.nodes})
    for note in plan.notes:
        counters.say(EventType.NOTE, reason=note)
    return row.id, work.settle()


def batch_of(request: OperationRequest, plan: Plan) -> int:
    """How many ids a message carries: at a window's start there are eight of them or more, for several workers."""
    return 1 if plan.nodes <= TASK_A_NODE else max(BATCH, min(LARGEST_BATCH, request.parallelism // 8))


def queue_of(request: OperationRequest) -> Queue:
    """Where its messages go: what someone waits for comes before beat's own work."""
    if request.verb is Verb.CANARY:
        return Queue.HOUSEKEEPING
    if request.actor != BEAT:
        return Queue.INTERACTIVE
    return Queue.RENEWALS if request.verb is Verb.RENEWSLICE else Queue.HOUSEKEEPING


def _cancel(
    connection: Connection, all_counters: list[OperationCounters], by: str, work: UnitOfWork, *, running: bool
) -> None:
    """End open steps; with `running` those at work too, whose records then find that their claim is gone."""
    states = ["held", "released", "running"] if running else ["held", "released"]
    bound = {"operations": [t.id for t in all_counters], "states": states, "reason": f"cancelled: {by}"}
    connection.execute(
        text("UPDATE svm.operation SET cancelled_at = now() WHERE id = ANY(:operations) AND cancelled_at IS NULL"),
        {"operations": bound["operations"]},
    )
    for counters in all_counters:
        counters.cancelled = True
    for row in connection.execute(_END_STEPS, bound):
        counters = work[row.operation]
        counters.open_steps -= 1
        counters.in_flight -= row.was != "held"
        counters.failed += row.node is not None
        said = {"ok": False, "code": Code.CANCELLED, "reason": bound["reason"], "kind": row.kind}
        counters.say(EventType.NODE if row.node else EventType.NOTE, node=row.node, **said)


def _operation(row: Row[Any]) -> Operation:
    outcome = Outcome(row.outcome) if row.outcome else None
    owner = Identity.parse(row.owner)
    return of_row(Operation, row, verb=Verb(row.verb), slice=row.slice_name, owner=owner, outcome=outcome)
