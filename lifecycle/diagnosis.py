"""What is not well about one owner's slices, or about all: what `reconcile` has found, and `svm doctor` shows."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, text

from trust.identity import Identity


class Trouble(StrEnum):
    """What may be wrong with a sliver."""

    ORPHAN = "orphan"  # on a node, and in no table
    MISSING = "missing"  # in the table as running, and on no node
    STOPPED = "stopped"  # its VM does not run: it was stopped, or has ended by itself
    KEYS = "keys"  # the node lacks the newest set of users' keys
    PAIR = "pair"  # the node has an older pair of the slice's own keys than is wanted
    SILENT = "silent"  # its node does not answer


@dataclass(frozen=True, slots=True)
class Ailment:
    """One of them. `since`: when it was first seen; `reason`: what the node, or who asked it, said."""

    slice: str
    node: str
    what: Trouble
    since: datetime | None
    reason: str | None


_WHOSE = "(CAST(:owner AS text) IS NULL OR x.owner = :owner)"
# A change of keys is under way for a moment after each addkey: that is no trouble yet.
_AILMENTS = text(f"""
    SELECT x.name AS slice, f.node, f.what, f.first_seen_at AS since, NULL AS reason
    FROM svm.finding f JOIN svm.slice x ON x.slice_id = f.slice_id WHERE {_WHOSE}
    UNION ALL
    SELECT x.name, v.node, 'stopped', coalesce(v.died_at, v.changed_at), v.last_error
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
    WHERE {_WHOSE} AND x.state = 'open' AND v.state = 'stopped' AND v.expires_at > now()
    UNION ALL
    SELECT x.name, v.node, 'keys', v.changed_at, v.last_error
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
    WHERE {_WHOSE} AND x.state = 'open' AND v.state IN ('running', 'stopped')
      AND v.expires_at > now() AND v.key_generation < x.key_generation
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL)
    UNION ALL
    SELECT x.name, v.node, 'pair', v.changed_at, v.last_error
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
    WHERE {_WHOSE} AND x.state = 'open' AND v.state = 'running' AND v.expires_at > now()
      AND v.pair_generation < x.pair_wanted
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL)
    UNION ALL
    SELECT x.name, v.node, 'silent', n.silent_since, n.last_error
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice JOIN svm.node n ON n.node = v.node
    WHERE {_WHOSE} AND v.state <> 'deleted' AND n.silent_since IS NOT NULL
      AND (v.state = 'deleting' OR v.expires_at > now())
    ORDER BY 1, 2, 3
""")  # noqa: S608 - made of constants of this file


_GOES_ON = text(f"""
    SELECT o.slice, o.verb FROM svm.operation o JOIN svm.slice x ON x.id = o.slice
    WHERE {_WHOSE} AND x.state <> 'deleted' AND o.ended_at IS NULL ORDER BY o.started_at
""")  # noqa: S608 - made of constants of this file


def verbs_under_way(connection: Connection, owner: Identity | None) -> dict[UUID, list[str]]:
    """Of each slice (its row's id) on which something goes on: the verbs, oldest first."""
    found: dict[UUID, list[str]] = {}
    for row in connection.execute(_GOES_ON, {"owner": owner.uri if owner else None}):
        found.setdefault(row.slice, []).append(row.verb)
    return found


def ailments(connection: Connection, owner: Identity | None) -> list[Ailment]:
    """All of them, by slice and node; `owner` None: of everybody's slices."""
    rows = connection.execute(_AILMENTS, {"owner": owner.uri if owner else None})
    return [Ailment(row.slice, row.node, Trouble(row.what), row.since, row.reason) for row in rows]
