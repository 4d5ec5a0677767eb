"""What is really there: svmd's tables, the agent's tickets, each node's own SQLite store and slivers. Reads only."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.stack import Stack


@dataclass(frozen=True, slots=True)
class Row:
    """A sliver of svmd's table.

    Args:
        wanted_keys: the slice's; `pair`: the generation of the slice's key pair that svmd believes it to have.
        renewals: renew operations of its slice so far.
    """

    slice: str
    slice_id: str
    slice_state: str
    node: str
    state: str
    generation: int
    jti: str | None
    keys: int
    wanted_keys: int
    renewals: int
    pair: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease in a node's own store. `overdue`: seconds since its end, negative while it lives; `pair`: the generation
    of the slice's key pair that is there."""

    node: str
    slice: str
    slice_id: str
    jti: str
    generation: int
    keys: int
    state: str
    overdue: int
    pair: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """One look at everything.

    Args:
        burnt: (ticket's jti, node).
        slivers: (slice, slice id, node) that the nodes' drivers hold; `removals`: those that are to be removed.
        promised: (slice id, node, how many) tickets that agents gave out and did not take back.
        twice: effects that svmd's history has more than once.
        put_back: how often a node got an old database; `reported`: (slice, node, what) that svmd tells of such nodes.
    """

    rows: Sequence[Row]
    leases: Sequence[Lease]
    burnt: Sequence[tuple[str, str]]
    slivers: frozenset[tuple[str, str, str]]
    removals: frozenset[tuple[str, str, str]]
    promised: Sequence[tuple[str, str, int]]
    twice: Sequence[str]
    put_back: Mapping[str, int] = field(default_factory=dict)
    reported: frozenset[tuple[str, str, str]] = frozenset()


_ROWS = """
    SELECT x.name, x.slice_id::text, x.state, v.node, v.state, v.generation, v.jti, v.key_generation, x.key_generation,
        (SELECT count(*) FROM svm.operation o WHERE o.slice = x.id AND o.verb = 'renewslice'),
        v.pair_generation
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.slice_id IS NOT NULL
"""
# A node ends once in an operation, an operation ends once.
_TWICE = """
    SELECT format('%s %s of %s said %s times', type, coalesce(node, ''), operation, count(*)) FROM svm.event
    WHERE type = 'ended' OR (type = 'node' AND ok)
    GROUP BY operation, type, node, (CASE WHEN type = 'node' THEN kind END) HAVING count(*) > 1
"""
_PROMISED = """
    SELECT slice_id::text, node, count(*) FROM agent.ticket
    WHERE state IN ('issued', 'burnt') AND slice_id IS NOT NULL AND expires_at > now()
    GROUP BY slice_id, node
"""
_REPORTED = "SELECT slice_name, node, what FROM svm.finding WHERE node = ANY(%s)"
_UNENDED = """
    SELECT o.id::text, o.verb, o.slice_name, o.open_steps,
        (SELECT count(*) FROM svm.step s WHERE s.operation = o.id AND s.state IN ('held', 'released', 'running'))
    FROM svm.operation o
    WHERE (o.ended_at IS NULL AND o.verb NOT IN ('reconcile', 'canary'))
       OR (o.ended_at IS NULL AND o.started_at < now() - interval '120 seconds')
       OR (o.ended_at IS NOT NULL AND EXISTS (SELECT 1 FROM svm.step s
           WHERE s.operation = o.id AND s.state IN ('held', 'released', 'running')))
"""
_LEASES = """
    SELECT slice, slice_id, jti, generation, key_generation, state, CAST(strftime('%s','now') AS INTEGER) - expires_at,
        pair_generation
    FROM lease
"""


def look(stack: Stack) -> Evidence:
    """One look: tables first, then nodes. What is under way meanwhile differs; ask again when nothing is."""
    with stack.connect() as database:
        rows = [Row(*found) for found in database.execute(_ROWS)]
        twice = [str(found[0]) for found in database.execute(_TWICE)]
        told = database.execute(_REPORTED, [list(stack.put_back)])
        reported = frozenset((str(slice), str(node), str(what)) for slice, node, what in told)
    with stack.connect("agent") as database:
        promised = [(str(id), str(node), int(count)) for id, node, count in database.execute(_PROMISED)]
    leases: list[Lease] = []
    burnt: list[tuple[str, str]] = []
    slivers: set[tuple[str, str, str]] = set()
    removals: set[tuple[str, str, str]] = set()
    for _, address, folder in stack.node_folders():
        found, gone, removing = read_node(folder / "node.db")
        leases += [Lease(address, *lease) for lease in found]
        burnt += [(jti, address) for jti in gone]
        removals |= {(slice, id, address) for slice, id in removing}
        slivers |= {(*path.name.partition("@")[::2], address) for path in (folder / "slivers").glob("*@*")}
    there = (frozenset(slivers), frozenset(removals))
    return Evidence(rows, leases, burnt, *there, promised, twice, stack.put_back, reported)


def read_node(path: Path) -> tuple[list[Any], list[str], list[tuple[str, str]]]:
    """A node's leases, burnt tickets and removals, from its own file."""
    store = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        leases = store.execute(_LEASES).fetchall()
        burnt = [row[0] for row in store.execute("SELECT jti FROM burnt")]
        return leases, burnt, store.execute("SELECT slice, slice_id FROM removal").fetchall()
    finally:
        store.close()


def unended(database: "psycopg.Connection[Any]") -> list[str]:
    """Operations that are open, or ended with a step that is not (I3)."""
    return [
        f"{verb} {name} ({id}): open_steps {open_steps}, {steps} steps not ended"
        for id, verb, name, open_steps, steps in database.execute(_UNENDED)
    ]
