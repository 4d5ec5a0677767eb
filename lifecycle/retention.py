"""`svm clean`: slices with no valid ticket and no valid lease are purged, by the database's clock; and what is history
for long is forgotten, so that the tables do not grow for ever."""

from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle import hooks
from lifecycle.deletion import empty_slices
from lifecycle.transitions import MAY_LAST, RAN_OUT
from trust.identity import Identity

AT_ONCE = 500  # rows that one transaction forgets, so that nobody waits long for it

# Nor is anything purged that a node may hold longer than svmd knows.
_PURGEABLE = f"""
    FROM svm.slice x
    WHERE x.state = 'open' AND (CAST(:owner AS text) IS NULL OR x.owner = :owner)
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM svm.sliver v WHERE v.slice = x.id AND (v.state = 'deleting'
          OR (v.state IN ('ticketed', 'leased', 'running', 'stopped') AND v.expires_at > now())))
      AND NOT EXISTS (SELECT 1 FROM svm.sliver v WHERE v.slice = x.id AND {MAY_LAST} > now())
"""  # noqa: S608 - made of constants
FIND = text(f"SELECT x.id {_PURGEABLE} ORDER BY x.name")
_LOCK = text(f"SELECT x.id {_PURGEABLE} ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED")

# Whose leases have run out since that was last written down (`lifecycle.transitions.expire`), which tells it.
_NOT_YET_TOLD = text("""
    SELECT DISTINCT slice FROM svm.sliver WHERE slice = ANY(:ids) AND state IN ('leased', 'running', 'stopped')
""")

_PURGE = text("""
    UPDATE svm.slice SET state = 'deleted', ended_at = now() WHERE id = ANY(:ids) RETURNING id, name
""")

_UNRELEASED = text("""
    SELECT x.id, x.name, x.owner FROM svm.slice x
    WHERE x.state = 'deleted' AND x.released_at IS NULL AND x.slice_id IS NOT NULL
      AND greatest(x.working_until, x.standing_until) > now()
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id
          AND (o.ended_at IS NULL OR (o.verb = 'release' AND o.ended_at > now() - interval '10 minutes')))
      AND NOT EXISTS (SELECT 1 FROM svm.slice y WHERE y.slice_id = x.slice_id AND y.state <> 'deleted')
    LIMIT 100
""")

_FORGET_HOUSEKEEPING = text("""
    DELETE FROM svm.operation WHERE id IN (
        SELECT id FROM svm.operation
        WHERE slice IS NULL AND verb IN ('reconcile', 'canary') AND ended_at < now() - interval '1 hour'
        ORDER BY ended_at LIMIT :most FOR UPDATE SKIP LOCKED)
""")
# Their steps and events go with operations, slivers with slices.
_FORGET_OPERATIONS = text("""
    DELETE FROM svm.operation WHERE id IN (
        SELECT id FROM svm.operation WHERE ended_at < now() - make_interval(days => :days)
        ORDER BY ended_at LIMIT :most FOR UPDATE SKIP LOCKED)
""")
_FORGET_SLICES = text("""
    DELETE FROM svm.slice WHERE id IN (
        SELECT x.id FROM svm.slice x
        WHERE x.state = 'deleted' AND x.ended_at < now() - make_interval(days => :days)
          AND (x.released_at IS NOT NULL OR x.slice_id IS NULL)
          AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id)
        ORDER BY x.id LIMIT :most FOR UPDATE OF x SKIP LOCKED)
""")
# Findings of a node that nobody asks any more go with it.
_FORGET_NODES = text("""
    WITH gone AS (
        DELETE FROM svm.node WHERE node IN (
            SELECT n.node FROM svm.node n
            WHERE coalesce(n.seen_at, n.silent_since, '-infinity') < now() - make_interval(days => :days)
              AND NOT EXISTS (SELECT 1 FROM svm.sliver v WHERE v.node = n.node)
            ORDER BY n.node LIMIT :most FOR UPDATE OF n SKIP LOCKED)
        RETURNING node),
    findings AS (DELETE FROM svm.finding f USING gone WHERE f.node = gone.node)
    SELECT node FROM gone
""")
_FORGET_DELIVERIES = text("""
    DELETE FROM svm.delivery WHERE id IN (
        SELECT id FROM svm.delivery WHERE made_at < now() - interval '30 days'
        ORDER BY made_at LIMIT :most FOR UPDATE SKIP LOCKED)
""")
# With their secrets; what they are still to be told goes out for three days.
_FORGET_HOOKS = text("""
    DELETE FROM svm.hook WHERE id IN (
        SELECT h.id FROM svm.hook h JOIN svm.slice x ON x.id = h.slice
        WHERE x.state = 'deleted' AND x.ended_at < now() - interval '7 days'
        ORDER BY h.id LIMIT :most FOR UPDATE OF h SKIP LOCKED)
""")
_FORGET = (
    _FORGET_HOUSEKEEPING,
    _FORGET_OPERATIONS,
    _FORGET_SLICES,
    _FORGET_NODES,
    _FORGET_DELIVERIES,
    _FORGET_HOOKS,
)


def purgeable_ids(connection: Connection, owner: Identity | None) -> list[UUID]:
    """What clean would purge: nothing valid, nothing open, nothing being deleted. `owner` None = everyone's."""
    return list(connection.scalars(FIND, {"owner": str(owner) if owner else None}))


def purge(connection: Connection, owner: Identity | None) -> list[str]:
    """Purge them; their names. plc gets the names back in a step of its own (`tasks/release.py`)."""
    found = list(connection.scalars(_LOCK, {"owner": str(owner) if owner else None}))
    # Looked at again under the lock: an operation may have begun while this waited.
    still = set(purgeable_ids(connection, owner))
    ids = [id for id in found if id in still]
    hooks.ended(connection, list(connection.scalars(_NOT_YET_TOLD, {"ids": ids})), RAN_OUT)
    empty_slices(connection, ids)
    return sorted(row.name for row in connection.execute(_PURGE, {"ids": ids}))


def unreleased(connection: Connection) -> list[tuple[UUID, str, str]]:
    """Ended slices whose name plc does not have back yet, and whose owner's delegation still lets svmd give it:
    (row, name, owner)."""
    return [(row.id, row.name, row.owner) for row in connection.execute(_UNRELEASED)]


def forget(connection: Connection, days: int) -> int:
    """Delete some operations that ended so many days ago, slices deleted so long ago that have none left, operations
    without a slice that ended an hour ago, whose history nobody reads, and nodes not seen for so long that nothing is
    on. How many: 0 when there is nothing left to forget."""
    bound = {"days": days, "most": AT_ONCE}
    return sum(connection.execute(statement, bound).rowcount for statement in _FORGET)
