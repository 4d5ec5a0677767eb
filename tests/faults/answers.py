"""Where calls and reads come from: the nodes' own record of each call, reads of their stores, and what svmd tells.

Nodes write down their calls (`testbed.simulation.calls`); the moments are those of the machine's monotonic clock. What
svmd says is looked at in one snapshot at a time: what it calls done there must be in its tables there; the moments are
the numbers of the snapshots.
"""

import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from testbed.simulation.calls import FILE, slice_keys
from tests.faults.calls import Call, What, check
from tests.faults.invariants import Breach

NEVER = float("inf")
REFUSED = range(400, 500)
_LEASES = "SELECT slice, slice_id, generation, expires_at, key_generation, keys FROM lease"
_ROWS = """
    SELECT x.id::text, x.name, x.key_generation, v.node, v.state, extract(epoch FROM v.expires_at), v.key_generation
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.created_at > %s
"""
_ASKED = """
    SELECT o.id::text, o.verb, o.slice::text, coalesce((o.options->>'replace')::boolean, false), o.ended_at IS NOT NULL
    FROM svm.operation o JOIN svm.slice x ON x.id = o.slice WHERE x.created_at > %s
"""
_TOLD = """
    SELECT e.operation::text, e.seq, e.slice::text, e.node, e.kind, e.detail->>'new'
    FROM svm.event e JOIN svm.slice x ON x.id = e.slice
    WHERE x.created_at > %s AND e.type = 'node' AND e.ok
"""
ANSWERS = {
    "newvms": What.GRANT,
    "renew": What.RENEW,
    "delete": What.DELETE,
    **dict.fromkeys(("addkey", "delkey", "nukekeys"), What.KEYS),
}
"""What the end of a step on a node says."""


class NodeCalls:
    """One node's calls, and reads of its store, since this was made."""

    def __init__(self, node: str, folder: Path) -> None:
        self.node = node
        self._file, self._store = folder / FILE, folder / "node.db"
        self._from = self._file.stat().st_size if self._file.exists() else 0
        self._reads: list[tuple[float, float, Mapping[tuple[str, str], Call]]] = []

    def read(self) -> None:
        """Look into its store."""
        begun = time.monotonic()
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True, timeout=10)) as store:
            rows = store.execute(_LEASES).fetchall()
        ended = time.monotonic()
        self._reads.append((begun, ended, {(row[0], row[1]): _read(begun, ended, row) for row in rows}))

    def breaches(self, put_back: Iterable[tuple[float, float]] = ()) -> list[Breach]:
        """What its calls and reads do not explain. `put_back`: between which moments it got an old database."""
        back = [Call(What.BACK, *moments) for moments in put_back]
        with self._file.open() as file:
            file.seek(self._from)
            calls = parsed([json.loads(line) for line in file if line.endswith("\n")])
        found: list[Breach] = []
        for (name, slice_id), writes in calls.items():
            reads = [
                rows.get((name, slice_id), Call(What.READ, begun, ended, there=False))
                for begun, ended, rows in self._reads
            ]
            found += check(f"{name} on {self.node}", [*writes, *back, *reads])
        return found


def parsed(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Call]]:
    """The calls that change something, by slice and registration. What was not answered when the node started again
    was done before that, or never."""
    found: dict[tuple[str, str], list[Call]] = defaultdict(list)
    heard: dict[int, Mapping[str, Any]] = {}

    def end(asked: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        place, call = _call(asked, answer)
        if place and call:
            found[place].append(call)

    for line in lines:
        if "started" in line:
            for asked in heard.values():
                end(asked, {"at": line["at"]})
            heard.clear()
        elif "heard" in line:
            heard[line["heard"]] = line
        elif line["answered"] in heard:
            end(heard.pop(line["answered"]), line)
    for asked in heard.values():
        end(asked, {"at": NEVER})
    return found


def _call(asked: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[tuple[str, str] | None, Call | None]:
    words = asked["path"].split("/")[1:]
    what = {
        ("POST", 1): What.GRANT,
        ("POST", 3): What.RENEW if words[-1] == "renew" else None,
        ("PUT", 3): What.KEYS if words[-1] == "access" else None,
        ("DELETE", 2): What.DELETE,
    }.get((asked["method"], len(words)))
    about = asked.get("ticket") or {"slice": words[1] if len(words) > 1 else None, **asked}
    status = answer.get("status")
    if what is None or not about.get("slice_id") or status in REFUSED:
        return None, None
    done = True if status is not None and status < 300 else None
    end = datetime.fromisoformat(answer["expires_at"]).timestamp() if done and "expires_at" in answer else 0
    made = Call(
        what,
        asked["at"],
        answer["at"],
        done,
        generation=int(answer.get("generation", 0)) if what is not What.KEYS else 0,
        end=end,
        key_generation=int(asked["generation"]) if what is What.KEYS else 0,
        keys=frozenset(asked["keys"]) if what is What.KEYS else None,
        lasts=answer["at"] + end - answer["now"] if end else NEVER,
        ticket=about.get("jti"),
    )
    return (about["slice"], about["slice_id"]), made


def _read(begun: float, ended: float, row: Any) -> Call:
    _, _, generation, end, key_generation, keys = row
    shown = frozenset(slice_keys(json.loads(keys)))
    return Call(
        What.READ, begun, ended, generation=generation, end=end, key_generation=key_generation, keys=shown
    )  # fmt: skip


@dataclass
class Asked:
    """An operation: the snapshots in which it was first seen, and first seen to have ended. `keys`: the number of a
    key set, which its nodes have once it is done, or a later one."""

    verb: str
    slice: str
    replaces: bool
    keys: int
    begun: float
    ended: float = NEVER


@dataclass
class Told:
    """What svmd told users, and its tables, of slices made after `since`."""

    since: datetime
    _moment: int = 0
    _asked: dict[str, Asked] = field(default_factory=dict)
    _keys: dict[str, int] = field(default_factory=dict)
    _told: set[tuple[str, int]] = field(default_factory=set)
    _calls: dict[tuple[str, str], list[Call]] = field(default_factory=lambda: defaultdict(list))
    _names: dict[str, str] = field(default_factory=dict)

    def look(self, database: "psycopg.Connection[Any]") -> None:
        """One snapshot: what was asked, what was answered, what is in the tables."""
        with database.transaction():
            database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            asked = database.execute(_ASKED, [self.since]).fetchall()
            told = database.execute(_TOLD, [self.since]).fetchall()
            rows = database.execute(_ROWS, [self.since]).fetchall()
        self._moment += 1
        wanted = {row[0]: row[2] for row in rows}
        new = Counter(slice for operation, verb, slice, *_ in asked if operation not in self._asked and verb in ANSWERS)
        for operation, verb, slice, replaces, ended in asked:
            # One that is alone between two snapshots has made the set of the second, or asked for it once more.
            keys = (wanted if new[slice] == 1 else self._keys).get(slice, 0)
            known = self._asked.setdefault(operation, Asked(verb, slice, replaces, keys, self._moment - 0.9))
            known.ended = min(known.ended, self._moment - 0.1) if ended else NEVER
        self._keys = wanted
        for operation, seq, slice, node, kind, end in told:
            if (operation, seq) not in self._told:
                self._told.add((operation, seq))
                self._answered(self._asked[operation], slice, node, kind, end)
        for row in rows:
            self._show(*row)

    def breaches(self) -> list[Breach]:
        """What was told and is not there."""
        found: list[Breach] = []
        for (slice, node), calls in self._calls.items():
            under_way = [call for asked in self._asked.values() if asked.slice == slice for call in _effects(asked)]
            found += check(f"{self._names.get(slice)} on {node} in the table", [*calls, *under_way])
        return found

    def _answered(self, asked: Asked, slice: str, node: str, kind: str, end: str | None) -> None:
        if kind not in ANSWERS:
            return
        what = ANSWERS[kind]
        keys = asked.keys if what is What.KEYS else 0
        until = datetime.fromisoformat(end).timestamp() if end else 0
        made = Call(what, asked.begun, self._moment - 0.1, end=until, key_generation=keys)
        self._calls[slice, node].append(made)

    def _show(self, slice: str, name: str, _: int, node: str, state: str, end: float | None, keys: int) -> None:
        self._names[slice] = name
        there, now = state not in ("deleting", "deleted"), float(self._moment)
        shown = Call(What.READ, now, now, there=there, end=float(end or 0), key_generation=keys)
        self._calls[slice, node].append(shown)


def _effects(asked: Asked) -> Iterator[Call]:
    """What an operation may have done to any of its slice's nodes before they are told of."""
    if asked.verb in ("deleteslice", "replace") or asked.replaces:
        yield Call(What.DELETE, asked.begun, asked.ended, None)
    if asked.verb in ("createslice", "newtickets", "newleases", "newvms", "replace"):
        yield Call(What.GRANT, asked.begun, asked.ended, None)
