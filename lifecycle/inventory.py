"""What the tables say of each node, for comparison with what the node says; and what came of it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Row, TextClause, text

from lifecycle.deletion import close_slices, lock_slices
from lifecycle.record import Change, advance
from lifecycle.rows import of_row
from models.states import Kind, SliverState
from trust.identity import Identity
from trust.needs import NOTHING, Needs
from trust.sshkeys import key_set_digest

What = Literal["orphan", "missing"]

_NODES = text("""
    INSERT INTO svm.node AS n (node, node_name, api)
    SELECT DISTINCT ON (node) node, node_name, api FROM (
        SELECT * FROM svm.sliver WHERE state <> 'deleted'
        UNION ALL SELECT * FROM svm.sliver WHERE state = 'deleted' AND changed_at > now() - interval '1 day') AS v
    ORDER BY node, changed_at DESC
    ON CONFLICT (node) DO UPDATE SET node_name = excluded.node_name, api = excluded.api
""")
_TO_ASK = text("""
    SELECT n.node FROM svm.node n
    WHERE n.seen_at > now() - interval '1 day'
       OR EXISTS (SELECT 1 FROM svm.sliver v WHERE v.node = n.node
           AND (v.state <> 'deleted' OR v.changed_at > now() - interval '1 day'))
    ORDER BY n.node
""")

_EXPECTED = text("""
    SELECT v.slice, x.name, x.slice_id, x.owner, x.leaselen, x.leaselen_changed, x.needs, v.node_name, v.jti,
        v.generation, v.expires_at,
        v.key_generation, x.key_generation AS wanted_keys,
        ARRAY(SELECT k.line FROM svm.slice_key k WHERE k.slice = x.id AND v.state IN ('running', 'stopped')) AS keys,
        v.changed_at < :asked - interval '30 seconds' AND NOT EXISTS (
            SELECT 1 FROM svm.operation o JOIN svm.step s ON s.operation = o.id
            WHERE o.slice = v.slice AND o.ended_at IS NULL AND s.node = v.node AND s.ended_at IS NULL) AS settled,
        CASE WHEN v.state IN ('ticketed', 'leased', 'running', 'stopped') AND v.expires_at <= now() THEN 'expired'
            ELSE v.state END AS state,
        CASE WHEN x.working_until > now() THEN x.working END AS working,
        CASE WHEN x.standing_until > now() THEN x.standing END AS standing
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
    WHERE v.node = :node AND x.slice_id IS NOT NULL
      AND (v.state NOT IN ('expired', 'deleted') OR x.slice_id = ANY(:there))
    ORDER BY x.name, x.created_at
""")

_ANSWERED = text(
    "UPDATE svm.node SET seen_at = now(), silent_since = NULL, error_code = NULL, last_error = NULL, leaving = :leaving"
    " WHERE node = :node"
)
_SILENT = text("""
    UPDATE svm.node SET silent_since = coalesce(silent_since, now()), error_code = :code, last_error = :reason
    WHERE node = :node
""")
_RESOLVE = text("""
    DELETE FROM svm.finding WHERE node = :node
      AND (slice_name, what) NOT IN (SELECT f.slice_name, f.what
          FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS f(slice_name text, what text))
""")
_FIND = text("""
    INSERT INTO svm.finding AS f (node, slice_name, what, slice_id)
    SELECT :node, r.slice_name, r.what, r.slice_id
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(slice_name text, what text, slice_id uuid)
    ON CONFLICT (node, slice_name, what) DO UPDATE SET seen_at = now(), slice_id = excluded.slice_id
""")


def _to_replace(which: str) -> TextClause:
    """VMs of slices that heal on nodes of which this is true, but for those that their owner had stopped. A slice is
    tried once in `seconds`, however that ended."""
    return text(f"""
        SELECT x.id, x.name, x.owner, array_agg(v.node ORDER BY v.position) AS nodes, min(n.leaving) AS why
        FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id JOIN svm.node n ON n.node = v.node
        WHERE x.state = 'open' AND x.heal AND x.standing_heals AND x.standing_until > now()
          AND v.state IN ('ticketed', 'leased', 'running', 'stopped') AND v.expires_at > now()
          AND (v.state <> 'stopped' OR v.died_at IS NOT NULL) AND {which}
          AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL
              AND o.verb NOT IN ('addkey', 'delkey', 'nukekeys'))
          AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.verb = 'replace'
              AND o.ended_at > now() - make_interval(secs => :seconds))
        GROUP BY x.id ORDER BY x.id LIMIT 100
    """)  # noqa: S608 - made of constants of this file


_OF_SILENT = _to_replace("n.silent_since < now() - make_interval(secs => :seconds)")
_OF_LEAVING = _to_replace("n.silent_since IS NULL AND n.leaving IS NOT NULL")

# What ended once may end again: not where beat has started it a while ago.
_REVIVE = text("""
    SELECT x.id, x.name, x.owner, array_agg(v.node ORDER BY v.position) AS nodes, NULL AS why
    FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
    WHERE x.state = 'open' AND x.heal AND x.standing_heals AND x.standing_until > now()
      AND v.state = 'stopped' AND v.died_at IS NOT NULL AND v.expires_at > now()
      AND NOT EXISTS (SELECT 1 FROM svm.operation o WHERE o.slice = x.id AND o.ended_at IS NULL
          AND o.verb NOT IN ('addkey', 'delkey', 'nukekeys'))
      AND NOT EXISTS (SELECT 1 FROM svm.operation o JOIN svm.step s ON s.operation = o.id
          WHERE o.slice = x.id AND o.actor = 'beat' AND s.kind = 'start' AND s.node = v.node
          AND s.ended_at > now() - make_interval(secs => :again))
    GROUP BY x.id ORDER BY x.id LIMIT 100
""")


@dataclass(frozen=True, slots=True)
class Expected:
    """One sliver's row on a node, whatever its state.

    Args:
        settled: when the node was asked it had not changed for a while, and no step is under way there: a difference is
            no mere overlap with a step at work, and nothing is mended that a step will do again.
        delegation: what its owner lets svmd show there now.
        keys: digest of the wanted key set of a VM that runs (`trust.sshkeys.key_set_digest`).
    """

    slice: UUID
    name: str
    slice_id: UUID
    owner: Identity
    leaselen: int
    leaselen_changed: bool
    node_name: str
    state: SliverState
    generation: int
    expires_at: datetime | None
    jti: str | None
    key_generation: int
    wanted_keys: int
    settled: bool
    delegation: str | None = field(repr=False)
    keys: str | None = None
    needs: Needs = NOTHING


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference that is only reported: a sliver without a row (orphan), or a row without its sliver (missing)."""

    slice_name: str
    what: What
    slice_id: UUID


@dataclass(frozen=True, slots=True)
class ToMend:
    """A slice that heals, and those of its nodes that beat is to do something about; `why`, where somebody said it."""

    slice: UUID
    name: str
    owner: Identity
    nodes: tuple[str, ...]
    why: str | None = None


def nodes(connection: Connection) -> list[str]:
    """Nodes of slivers, also of those deleted within a day, and nodes that answered within a day: one may hold an
    orphan."""
    connection.execute(_NODES)
    return list(connection.scalars(_TO_ASK))


def node_of(connection: Connection, node: str) -> tuple[str, str, datetime] | None:
    """(name, base URL, the time by the database's clock) of a node that is going to be asked."""
    row = connection.execute(
        text("SELECT node_name, api, now() AS asked FROM svm.node WHERE node = :node"), {"node": node}
    ).one_or_none()
    return (row.node_name, row.api, row.asked) if row else None


def expected(connection: Connection, node: str, asked: datetime, there: Iterable[UUID]) -> list[Expected]:
    """The rows of a node that are to be compared with what it said when it was `asked`, among them those of what is
    `there` (registrations): not what was there once."""
    return [
        of_row(
            Expected,
            row,
            owner=Identity.parse(row.owner),
            needs=Needs.from_json(row.needs),
            state=SliverState(row.state),
            delegation=row.working or row.standing,
            keys=key_set_digest(row.keys),
        )
        for row in connection.execute(_EXPECTED, {"node": node, "asked": asked, "there": list(there)})
    ]


def answered(
    connection: Connection,
    node: str,
    gone: Sequence[UUID],
    changes: Sequence[Change],
    findings: Iterable[Finding],
    leaving: str | None = None,
) -> None:
    """Write down what a node's answer came to: slices whose sliver is gone there, what was mended, what to report;
    `leaving`: why its operator wants it empty."""
    lock_slices(connection, gone)
    moved = advance(connection, [*(Change(id, node, Kind.DELETE) for id in gone), *changes])
    connection.execute(_ANSWERED, {"node": node, "leaving": leaving})
    told = {(f.slice_name, f.what): str(f.slice_id) for f in findings}
    rows = [{"slice_name": name, "what": what, "slice_id": id} for (name, what), id in told.items()]
    bound = {"node": node, "rows": json.dumps(rows)}
    connection.execute(_RESOLVE, bound)
    connection.execute(_FIND, bound)
    closed = {id for id, states in zip(gone, moved, strict=False) if states is not None}
    close_slices(connection, sorted(closed))


def silent(connection: Connection, node: str, code: str, reason: str) -> None:
    """The node did not answer."""
    connection.execute(_SILENT, {"node": node, "code": code, "reason": reason})


def to_heal(connection: Connection, seconds: int) -> list[ToMend]:
    """Nodes that have been silent for so long, whose slivers others replace."""
    return [_to_mend(row) for row in connection.execute(_OF_SILENT, {"seconds": seconds})]


def to_move(connection: Connection, seconds: int) -> list[ToMend]:
    """Nodes that answer and are to be empty: their slivers stay until others run; tried again after so long."""
    return [_to_mend(row) for row in connection.execute(_OF_LEAVING, {"seconds": seconds})]


def to_revive(connection: Connection, seconds: int) -> list[ToMend]:
    """Nodes whose VM has ended by itself and that beat has not started for so long."""
    return [_to_mend(row) for row in connection.execute(_REVIVE, {"again": seconds})]


def _to_mend(row: Row[Any]) -> ToMend:
    return of_row(ToMend, row, slice=row.id, owner=Identity.parse(row.owner), nodes=tuple(row.nodes))
