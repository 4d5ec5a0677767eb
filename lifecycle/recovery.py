"""What keeps every operation moving when messages, workers or whole queues are lost. Run as often as you like.

Two sweeps at once are harmless: rows are taken with SKIP LOCKED, and publishing a step twice is.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.rows import of_row
from lifecycle.steps import StepRef
from lifecycle.unit_of_work import UnitOfWork
from models.states import Kind, Queue

MOST = 2000  # steps in one sweep; the rest is found by the next

# Released and not taken for `again` seconds, twice that, …; or taken and not recorded until the claim lapsed.
_DUE = text("""
    UPDATE svm.step AS s SET published_at = now(), publishes = s.publishes + 1
    FROM (SELECT s.id, o.queue, o.batch, o.slice_name FROM svm.step s JOIN svm.operation o ON o.id = s.operation
          WHERE (s.state = 'released' AND s.next_run_at <= now()
                 AND s.published_at < now() - make_interval(secs => :again * power(2, least(s.publishes, 6) - 1)))
             OR (s.state = 'running' AND s.claim_until < now()
                 AND (s.published_at < s.claim_until
                      OR s.published_at < now() - make_interval(secs => :again * power(2, least(s.publishes, 6) - 1))))
          ORDER BY s.id LIMIT :most FOR UPDATE OF s SKIP LOCKED) AS due
    WHERE s.id = due.id
    RETURNING s.id, s.kind, s.state, s.node, s.operation, due.queue, due.batch, due.slice_name AS slice
""")

# Held steps whose time has come while their operation has room, and operations that nothing will end any more.
_REFILLABLE = text("""
    SELECT o.id FROM svm.operation o
    WHERE o.ended_at IS NULL
      AND (o.open_steps = 0
           OR (o.in_flight < o.parallelism AND EXISTS (SELECT 1 FROM svm.step s WHERE s.operation = o.id
               AND s.state = 'held' AND s.next_run_at <= now())))
    ORDER BY o.id LIMIT :most
""")

_COUNTED = text("""
    SELECT operation, count(*) AS open_steps, count(*) FILTER (WHERE state <> 'held') AS in_flight
    FROM svm.step WHERE operation = ANY(:ids) AND state IN ('held', 'released', 'running') GROUP BY operation
""")


_OLDEST = text("""
    SELECT extract(epoch FROM now() - min(greatest(s.next_run_at, s.created_at)))
    FROM svm.step s JOIN svm.operation o ON o.id = s.operation
    WHERE s.state = 'released' AND o.queue = ANY(:queues)
""")


def republish(connection: Connection, again: int) -> tuple[list[StepRef], int]:
    """Steps that are due and unheld, stamped, to publish; and how many of them had lapsed claims."""
    rows = connection.execute(_DUE, {"again": again, "most": MOST}).all()
    refs = [of_row(StepRef, row, kind=Kind(row.kind), queue=Queue(row.queue)) for row in rows]
    return refs, sum(row.state == "running" for row in rows)


def refillable(connection: Connection) -> list[UUID]:
    """Operations whose windows have room for steps that are due."""
    return list(connection.scalars(_REFILLABLE, {"most": MOST}))


def refill(connection: Connection, operations: list[UUID]) -> list[StepRef]:
    """Count these operations' steps anew, under their locks, and refill their windows; what to publish."""
    work = UnitOfWork(connection)
    work.lock(operations)
    counted = {row.operation: row for row in connection.execute(_COUNTED, {"ids": operations})}
    for counters in work:
        row = counted.get(counters.id)
        counters.open_steps, counters.in_flight = (row.open_steps, row.in_flight) if row else (0, 0)
    return work.settle()


def oldest_due(connection: Connection, queues: Sequence[Queue] = tuple(Queue)) -> float:
    """Seconds that the oldest due step of these queues has waited to be taken; 0 when none waits."""
    waited = connection.scalar(_OLDEST, {"queues": list(queues)})
    return max(0.0, float(waited or 0))
