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

_TO_ASK = text("""
    SELECT n.node FROM svm.node n
    WHERE n.seen_at > now() - interval '1 day'
       OR EXISTS (SELECT 1 FROM svm.sliver v WHERE v.node = n.node
           AND (v.state <> 'deleted' OR v.changed_at > now() - interval '1 day'))
    ORDER BY n.node
""")

_PLACES = text("SELECT node, node_name AS name, api, now() AS now FROM svm.node WHERE node = ANY(:nodes)")

# That nodes are named once more has PostgreSQL look them up: of how many rows a JSON text yields it knows nothing.
_EXPECTED = text("""
    SELECT a.number, v.slice, x.name, x.slice_id, x.owner, x.leaselen, x.leaselen_changed, x.needs, v.node_name, v.jti,
        v.generation, v.expires_at,
        v.key_generation, x.key_generation AS wanted_keys, v.heard_at,
        ARRAY(SELECT k.line FROM svm.slice_key k WHERE k.slice = x.id AND v.state IN ('running', 'stopped')) AS keys,
        v.changed_at < a.at - interval '30 seconds' AND NOT EXISTS (
            SELECT 1 FROM svm.operation o JOIN svm.step s ON s.operation = o.id
            WHERE o.slice = v.slice AND o.ended_at IS NULL AND s.node = v.node AND s.ended_at IS NULL) AS settled,
        CASE WHEN v.state IN ('ticketed', 'leased', 'running', 'stopped') AND v.expires_at <= now() THEN 'expired'
            ELSE v.state END AS state,
        CASE WHEN x.working_until > now() THEN x.working END AS working,
        CASE WHEN x.standing_until > now() THEN x.standing END AS standing
    FROM jsonb_to_recordset(CAST(:asked AS jsonb)) AS a(number int, node text, at timestamptz, there jsonb)
        JOIN svm.sliver v ON v.node = a.node JOIN svm.slice x ON x.id = v.slice
    WHERE v.node = ANY(:nodes) AND x.slice_id IS NOT NULL
      AND (v.state NOT IN ('expired', 'deleted') OR a.there ? CAST(x.slice_id AS text))
    ORDER BY x.name, x.created_at
""")

_ANSWERED = text(
    "UPDATE svm.node SET seen_at = now(), silent_since = NULL, error_code = NULL, last_error = NULL, leaving = :leaving"
    " WHERE node = :node"
)
_AS_EXPECTED = (
    text("""
        UPDATE svm.node AS n SET seen_at = now(), silent_since = NULL, error_code = NULL, last_error = NULL,
            leaving = NULL
        FROM (SELECT node FROM svm.node WHERE node = ANY(:nodes) ORDER BY node FOR UPDATE) AS locked
        WHERE n.node = locked.node
    """),
    text("DELETE FROM svm.finding WHERE node = ANY(:nodes)"),
)
_HEARD = text("UPDATE svm.sliver SET heard_at = :at WHERE slice = :slice AND node = :node")
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
        heard_at: of what happened in it, the last that the history has.
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
    heard_at: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is asked; `now` by the database's clock."""

    node: str
    name: str
    api: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a node that was asked at that time: the registrations of what is there."""

    node: str
    asked: datetime
    there: tuple[UUID, ...]


def nodes(connection: Connection) -> list[str]:
    """Nodes of slivers, also of those deleted within a day, and nodes that answered within a day: one may hold an
    orphan."""
    return list(connection.scalars(_TO_ASK))


def places(connection: Connection, nodes: Sequence[str]) -> list[Place | None]:
    """For each node that is going to be asked where that is; None: it is not known any more."""
    found = {row.node: of_row(Place, row) for row in connection.execute(_PLACES, {"nodes": list(nodes)})}
    return [found.get(node) for node in nodes]


def expected(connection: Connection, answers: Sequence[Answer]) -> list[list[Expected]]:
    """For each node the rows that are to be compared with what it said when it was asked, among them those of what is
    there: not what was there once."""
    asked = [
        {
            "number": number,
            "node": answer.node,
            "at": answer.asked.isoformat(),
            "there": [str(id) for id in answer.there],
        }
        for number, answer in enumerate(answers)
    ]
    found: list[list[Expected]] = [[] for _ in answers]
    bound = {"asked": json.dumps(asked), "nodes": [answer.node for answer in answers]}
    for row in connection.execute(_EXPECTED, bound):
        found[row.number].append(_expected(row))
    return found


def _expected(row: Row[Any]) -> Expected:
    return of_row(
        Expected,
        row,
        owner=Identity.parse(row.owner),
        needs=Needs.from_json(row.needs),
        state=SliverState(row.state),
        delegation=row.working or row.standing,
        keys=key_set_digest(row.keys),
    )


def as_expected(connection: Connection, nodes: Sequence[str]) -> list[None]:
    """These nodes answered, and there was nothing to do or to report."""
    for statement in _AS_EXPECTED:
        connection.execute(statement, {"nodes": list(nodes)})
    return [None for _ in nodes]


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


def heard(connection: Connection, slice: UUID, node: str, at: datetime) -> None:
    """The history has what happened in this sliver until then."""
    connection.execute(_HEARD, {"slice": slice, "node": node, "at": at})


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
