"""How slices end: purged by clean, or deleted once no node can hold a sliver of them any more."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.outcome import Done, Record
from lifecycle.steps import NewStep, StepRef
from lifecycle.unit_of_work import UnitOfWork
from lifecycle.verbs import VERBS
from models.states import Kind, Verb

# A sliver that is being deleted is gone when its node said so, or when its lease's end and the grace have passed.
_OVERDUE = "state = 'deleting' AND coalesce(expires_at, '-infinity') + make_interval(secs => :grace) < now()"
_WITH_OVERDUE = text(f"SELECT DISTINCT slice FROM svm.sliver WHERE {_OVERDUE}")  # noqa: S608 - made of constants
_OUTLIVED = text(f"""
    UPDATE svm.sliver SET state = 'deleted', ticket = NULL, lease = NULL, renew_at = NULL, key_generation = 0,
        changed_at = now()
    WHERE (slice, node) IN (
        SELECT slice, node FROM svm.sliver WHERE slice = ANY(:ids) AND {_OVERDUE}
        ORDER BY slice, node FOR UPDATE SKIP LOCKED)
    RETURNING slice
""")  # noqa: S608 - made of constants of this file

_LOCK = text("SELECT id, key_generation FROM svm.slice WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")

_CLOSE = text("""
    UPDATE svm.slice SET state = 'deleted', ended_at = now(), sealed_key = NULL, public_key = NULL
    WHERE id = ANY(:ids) AND state = 'deleting'
      AND NOT EXISTS (SELECT 1 FROM svm.sliver v WHERE v.slice = slice.id AND v.state NOT IN ('deleted', 'expired'))
    RETURNING id
""")

_GIVEN_BACK = text("UPDATE svm.slice SET released_at = now() WHERE id = ANY(:ids)")

# With its name back at plc, and no sliver anywhere, there is nothing left that svmd could do for the owner.
_FORGET_PERMISSIONS = text("""
    UPDATE svm.slice SET working = NULL, working_until = NULL, standing = NULL, standing_until = NULL,
        standing_heals = false, by_link = NULL, by_link_until = NULL
    WHERE id = ANY(:ids) AND state = 'deleted' AND (released_at IS NOT NULL OR slice_id IS NULL)
""")

_AGENTS = text("SELECT DISTINCT agent FROM svm.sliver WHERE slice = :slice ORDER BY agent")
# Of every slice of that name and owner: the name is not free before the last of their slivers has ended.
_LEFT = text("""
    SELECT v.node, v.expires_at + make_interval(secs => :grace) AS until
    FROM svm.slice x JOIN svm.slice y ON y.owner = x.owner AND y.name = x.name JOIN svm.sliver v ON v.slice = y.id
    WHERE x.id = :slice AND y.state <> 'deleted' AND v.state = 'deleting' ORDER BY v.node
""")

_STILL_DELETING = text("""
    SELECT DISTINCT operation FROM svm.step
    WHERE operation = ANY(:operations) AND kind = 'delete' AND state IN ('held', 'released', 'running')
""")

_EMPTY = (
    text("""UPDATE svm.slice SET sealed_key = NULL, public_key = NULL, autorenew = false, heal = false
            WHERE id = ANY(:ids)"""),
    text("""UPDATE svm.sliver SET state = 'deleted', ticket = NULL, lease = NULL, renew_at = NULL, key_generation = 0
            WHERE (slice, node) IN (SELECT slice, node FROM svm.sliver WHERE slice = ANY(:ids)
                ORDER BY slice, node FOR UPDATE)"""),
    text("DELETE FROM svm.slice_key WHERE slice = ANY(:ids)"),
)


def lock_slices(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, int]:
    """Lock these slices until the transaction ends, as is done before their slivers; the generations of their keys."""
    return {row.id: row.key_generation for row in connection.execute(_LOCK, {"ids": list(ids)})}


def close_slices(connection: Connection, ids: Sequence[UUID], *, given_back: Sequence[UUID] = ()) -> list[UUID]:
    """Those of these slices that are being deleted and that no node holds any more become deleted.

    `given_back`: those whose name plc has taken back.
    """
    if given_back:
        connection.execute(_GIVEN_BACK, {"ids": list(given_back)})
    closed = list(connection.scalars(_CLOSE, {"ids": list(ids)})) if ids else []
    empty_slices(connection, closed)
    both = list({*closed, *given_back})
    if both:
        connection.execute(_FORGET_PERMISSIONS, {"ids": both})
    return closed


def empty_slices(connection: Connection, ids: Sequence[UUID]) -> None:
    """Take out what only a living slice needs: its key pair, tickets, leases and SSH keys."""
    for statement in _EMPTY if ids else ():
        connection.execute(statement, {"ids": list(ids)})


def left_of(connection: Connection, slice_row: UUID, grace: int) -> tuple[list[str], dict[str, datetime | None]]:
    """The agents that registered the slice; nodes that may still hold a sliver of that name, and until when."""
    agents = connection.scalars(_AGENTS, {"slice": slice_row})
    left = connection.execute(_LEFT, {"slice": slice_row, "grace": grace})
    return list(agents), {row.node: row.until for row in left}


def outlive(connection: Connection, grace: int) -> list[UUID]:
    """Write down deletions that the leases' ends have finished; the slices that are now closed."""
    found = list(connection.scalars(_WITH_OVERDUE, {"grace": grace}))
    if not found:
        return []
    lock_slices(connection, found)
    return close_slices(connection, sorted(set(connection.scalars(_OUTLIVED, {"ids": found, "grace": grace}))))


def follow_deletions(connection: Connection, work: UnitOfWork, records: Sequence[Record]) -> list[StepRef]:
    """After a deletion's last node the name goes back to plc; after that nothing of the slice is kept. What an open
    slice gives back has nothing that waits for it."""
    deletions = [r.claim for r in records if r.claim.kind is Kind.DELETE]
    of_others = {c.slice.id for c in deletions if c.slice and c.slice.id != work[c.operation].slice}
    ending = [
        c for c in deletions if work[c.operation].verb is Verb.DELETESLICE or (c.slice and c.slice.id in of_others)
    ]
    refs = _after_last(connection, work, {claim.operation for claim in ending})
    close_slices(connection, sorted(of_others))
    released = [(r.claim.slice.id, r.result) for r in records if r.claim.kind is Kind.RELEASE and r.claim.slice]
    given = [slice_row for slice_row, result in released if isinstance(result, Done)]
    close_slices(connection, [slice_row for slice_row, _ in released], given_back=given)
    return refs


def _after_last(connection: Connection, work: UnitOfWork, operations: set[UUID]) -> list[StepRef]:
    """What waits for the last of an operation's deletions."""
    if not operations:
        return []
    deleting = set(connection.scalars(_STILL_DELETING, {"operations": list(operations)}))
    over = [work[operation] for operation in sorted(operations - deleting)]
    # A deletion's end is a part of it; whatever else was cancelled goes no further.
    going_on = [counters for counters in over if counters.verb is Verb.DELETESLICE or not counters.cancelled]
    waiting = ((counters.id, VERBS[counters.verb].after_deletions) for counters in going_on)
    return work.add_steps(NewStep(id, kind) for id, kind in waiting if kind)
