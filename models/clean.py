"""`svm clean`: slices with no valid ticket and no valid lease are purged, by the database's clock."""

from uuid import UUID

from sqlalchemy import Connection, text

from models.endings import empty_slices
from trust.identity import Identity

_PURGEABLE = """
    FROM svm.slice x
    WHERE x.state = 'open' AND (CAST(:owner AS text) IS NULL OR x.owner = :owner)
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM svm.sliver v WHERE v.slice = x.id AND (v.state = 'deleting'
          OR (v.state IN ('ticketed', 'leased', 'running') AND v.expires_at > now())))
"""
FIND = text(f"SELECT x.id {_PURGEABLE} ORDER BY x.name")
_LOCK = text(f"SELECT x.id {_PURGEABLE} ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED")

_PURGE = text("""
    UPDATE svm.slice SET state = 'deleted', ended_at = now() WHERE id = ANY(:ids) RETURNING id, name
""")


def purgeable_ids(connection: Connection, owner: Identity | None) -> list[UUID]:
    """What clean would purge: nothing valid, nothing open, nothing being deleted. `owner` None = everyone's."""
    return list(connection.scalars(FIND, {"owner": str(owner) if owner else None}))


def purge(connection: Connection, owner: Identity | None) -> list[str]:
    """Purge them; their names. plc gets the names back in a step of its own (`models.periodic.releases`)."""
    found = list(connection.scalars(_LOCK, {"owner": str(owner) if owner else None}))
    # Looked at again under the lock: an operation may have begun while this waited.
    still = set(purgeable_ids(connection, owner))
    ids = [id for id in found if id in still]
    empty_slices(connection, ids)
    return sorted(row.name for row in connection.execute(_PURGE, {"ids": ids}))
