"""Which slivers the tables know, for comparison with what nodes hold; and what reconcile found that they do not."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

# A row that says deleted knows its sliver, too: reconcile removes that one, where the owner's permission lasts.
_KNOWN = text("""
    SELECT v.node_name AS node, x.name AS slice, CAST(x.slice_id AS text) AS slice_id, v.state
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
    WHERE x.slice_id IS NOT NULL
      AND (v.state <> 'deleted' OR greatest(x.working_until, x.standing_until) > now())
    ORDER BY 1, 2
""")
_ORPHANS = text("""
    SELECT coalesce(n.node_name, f.node) AS node, f.slice_name AS slice, CAST(f.slice_id AS text) AS slice_id,
        f.first_seen_at AS since
    FROM svm.finding f LEFT JOIN svm.node n ON n.node = f.node WHERE f.what = 'orphan' ORDER BY 1, 2
""")


def known(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """Every sliver that a table has: `node` (name), `slice`, `slice_id`, `state`."""
    return [dict(row._mapping) for row in connection.execute(_KNOWN)]


def orphans(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """Slivers that reconcile saw on nodes and in no table, and since when."""
    return [dict(row._mapping) for row in connection.execute(_ORPHANS)]
