"""I1 to I5 of docs/lifecycle.md, "Invariants", on one look at everything. Pure.

Lost: what svmd believes to run and the node lacks. Doubled: what is there twice, or goes on where it must not.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.faults.evidence import Evidence, Lease, Row

LIVE = ("leased", "running", "stopped")
EXPIRY_ROUNDS = 3
"""Seconds that a node may take to notice that a lease and its grace are over."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing that must not be. `what` is `lost` or `doubled`."""

    what: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.why}"


def breaches(found: Evidence, *, grace: int) -> list[Breach]:
    """All of them; none when tables and nodes agree and the invariants hold."""
    return [*_slivers(found), *_leases(found, grace), *_tickets(found), *_history(found)]


def _slivers(found: Evidence) -> Iterator[Breach]:
    """Each sliver that svmd believes in is there, as svmd has it."""
    at_node = {(lease.slice_id, lease.node): lease for lease in found.leases}
    names = Counter((row.slice, row.node) for row in found.rows if row.state in LIVE)
    for (name, node), times in names.items():
        if times > 1:
            yield Breach("doubled", f"{name} on {node}", f"I1: {times} live slivers in the table")
    for row in found.rows:
        if row.state in LIVE:
            yield from _compared(row, at_node.get((row.slice_id, row.node)), found)


def _compared(row: Row, lease: Lease | None, found: Evidence) -> Iterator[Breach]:
    where = f"{row.slice} on {row.node}"
    if lease is None:
        if (row.slice, row.node, "missing") in found.reported:
            return
        yield Breach("lost", where, f"{row.state} in the table, no lease at the node")
        return
    if row.state == "running" and (row.slice, row.slice_id, row.node) not in found.slivers:
        yield Breach("lost", where, "running in the table, no sliver at the node")
    if (row.state, lease.state) in (("running", "leased"), ("stopped", "running")):
        yield Breach("lost", where, f"{row.state} in the table, {lease.state} at the node")
    if row.state == "running" and lease.keys < row.wanted_keys:
        yield Breach("lost", where, f"key set {lease.keys} at the node, {row.wanted_keys} wanted")
    if row.state == "running" and lease.pair < row.pair:
        yield Breach("lost", where, f"key pair {lease.pair} at the node, {row.pair} in the table")
    if lease.generation < row.generation:
        yield Breach("lost", where, f"I4: generation {lease.generation} at the node, {row.generation} in the table")
    if lease.generation > row.generation:
        yield Breach("doubled", where, f"generation {lease.generation} at the node, {row.generation} in the table")
    if lease.jti != row.jti:
        yield Breach("doubled", where, "I2: the lease is of another ticket than the table has")


def _leases(found: Evidence, grace: int) -> Iterator[Breach]:
    """Nothing is at a node that svmd does not believe in, and nothing is there after its end."""
    believed = {(row.slice_id, row.node): row for row in found.rows if row.state in LIVE}
    leased = {(lease.slice_id, lease.node) for lease in found.leases}
    for lease in found.leases:
        where = f"{lease.slice} on {lease.node}"
        row = believed.get((lease.slice_id, lease.node))
        if (lease.slice, lease.node, "orphan") in found.reported:
            continue
        if row is None and lease.overdue < 0:
            yield Breach("doubled", where, "a lease at the node that is not in the table")
        elif row is not None and lease.generation > 1 + row.renewals + found.put_back.get(lease.node, 0):
            yield Breach("doubled", where, f"renewed to {lease.generation} by {row.renewals} operations")
        if lease.overdue > grace + EXPIRY_ROUNDS:
            yield Breach("doubled", where, f"I5: alive {lease.overdue} s after its lease")
    for slice, id, node in found.slivers:
        if (id, node) not in leased and (slice, id, node) not in found.removals:
            yield Breach("doubled", f"{slice} on {node}", "I5: a sliver without a lease")
    per_node = Counter((slice, node) for slice, _, node in found.slivers)
    for (slice, node), times in per_node.items():
        if times > 1:
            yield Breach("doubled", f"{slice} on {node}", f"I1: {times} slivers at the node")


def _tickets(found: Evidence) -> Iterator[Breach]:
    for jti, times in Counter(lease.jti for lease in found.leases).items():
        if times > 1:
            yield Breach("doubled", f"ticket {jti}", f"I2: {times} leases")
    for jti, times in Counter(jti for jti, _ in found.burnt).items():
        if times > 1:
            yield Breach("doubled", f"ticket {jti}", f"I2: burnt at {times} nodes")
    for id, node, times in found.promised:
        if times > 1:
            yield Breach("doubled", f"slice {id} on {node}", f"{times} tickets that the agent counts on")


def _history(found: Evidence) -> Iterator[Breach]:
    for line in found.twice:
        yield Breach("doubled", "history", line)


def count(found: Iterable[Breach], what: str) -> int:
    """How many of one kind."""
    return sum(breach.what == what for breach in found)
