"""Earlier registrations of a name whose last nodes have not let go of their slivers.

Such a slice stays `deleting` until each node has said that its sliver is gone, or cannot have it any more. Whoever
creates a slice of that name, or deletes it again, has these nodes asked at once, in the same operation.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from lifecycle.requests import OperationRequest

_LEFT = text("""
    SELECT x.id, v.node FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
    WHERE x.name = :name AND x.owner = :owner AND x.state = 'deleting' AND v.state = 'deleting'
      AND x.id IS DISTINCT FROM :but
    ORDER BY x.created_at, v.position, v.node
""")
# The one that came with the earlier deletion may have ended. One signed before its withdrawal is refused elsewhere.
_PERMIT = text("""
    UPDATE svm.slice SET working = :token, working_until = :until
    WHERE id = ANY(:ids) AND (refused_before IS NULL OR date_trunc('second', refused_before) <= :issued)
""")


def earlier_slivers(
    connection: Connection, request: OperationRequest, row: Row[Any] | None = None
) -> tuple[tuple[UUID, str], ...]:
    """(slice's row, node) of what is left of the owner's earlier slices of this name, `row` apart; with what they show
    to these nodes. All rows of the name are locked."""
    bound = {"name": request.slice, "owner": str(request.owner), "but": row.id if row is not None else None}
    left = tuple((found.id, found.node) for found in connection.execute(_LEFT, bound))
    if left and request.working is not None:
        given, ids = request.working, [id for id, _ in left]
        until = {"token": given.token, "until": given.expires_at, "issued": given.issued_at}
        connection.execute(_PERMIT, {"ids": ids, **until})
    return left
