"""Leases: they renew themselves although something is gone for a quarter of the lease, and end where nobody renews."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count

from tests.faults import evidence
from tests.faults.breaking.rhythm import until
from tests.faults.breaking.services import agent_down
from tests.faults.invariants import EXPIRY_ROUNDS, Breach
from tests.faults.life import Life, settled
from tests.faults.runner import Outcome
from tests.faults.stack import GRACE, Counted, Stack
from tests.faults.watch import Watch

LEASELEN = 60
BEGINS, LASTS = 0.62, 0.25
"""The fault as parts of the lease: it covers 2/3, where renewal is due."""
NODES = 40
SHORT_LEASE = 12
_LEFT = """
    SELECT v.node, v.state, v.generation, extract(epoch FROM v.expires_at - now())
    FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.name = %s
"""
_numbers = count(1)


@contextmanager
def _without(name: str, stack: Stack) -> Iterator[None]:
    stack.stop(name)
    try:
        yield
    finally:
        stack.start(name)
        until(stack.all_ready, 60)


RENEWALS: dict[str, Callable[[Stack], AbstractContextManager[None]]] = {
    "agent down for a quarter of the lease": agent_down,
    "Valkey down for a quarter of the lease": lambda stack: _without("broker", stack),
    "no beat for a quarter of the lease": lambda stack: _without("beat", stack),
    "PostgreSQL down for a quarter of the lease": lambda stack: _without("database", stack),
    "svmd down for a quarter of the lease": lambda stack: _without("svmd", stack),
}
ENDS = "leases end, nodes killed meanwhile"
LEASE_CASES = (*RENEWALS, ENDS)


def run_leases(stack: Stack, name: str) -> Outcome:
    """One of `LEASE_CASES`, once."""
    stack.counted = Counted()
    life = Life(
        stack,
        [f"q{next(_numbers)}"],
        stack.addresses[:NODES],
        leaselen=SHORT_LEASE if name == ENDS else LEASELEN,
        autorenew=None if name == ENDS else True,
    )
    outcome = Outcome(name, runs=1)
    watch = Watch(stack)
    watch.start()
    life.ask("createslice", life.names)
    settled(lambda: not life.undone("createslice"), 60)
    outcome.note(_ending(stack) if name == ENDS else _renewing(stack, life, RENEWALS[name], outcome))
    watch.stop()
    outcome.steps, outcome.kills = life.steps(), stack.counted.kills
    outcome.note(Breach("doubled", name, why) for why in watch.breaches)
    life.ask("deleteslice", life.names)
    settled(lambda: not life.undone("deleteslice"), 60)
    return outcome


def _renewing(
    stack: Stack, life: Life, fault: Callable[[Stack], AbstractContextManager[None]], outcome: Outcome
) -> list[Breach]:
    """No lease lapses: each is replaced before its end, although the fault covers the moment when that was due."""
    first = time.monotonic() + min(left for *_, left in _slivers(stack, life)) - LEASELEN
    time.sleep(max(0.0, first + BEGINS * LEASELEN - time.monotonic()))
    with fault(stack):
        time.sleep(LASTS * LEASELEN)
    ended = time.monotonic()
    settled(lambda: all(generation > 1 for _, _, generation, _ in _slivers(stack, life)), LEASELEN)
    outcome.seconds = time.monotonic() - ended
    time.sleep(1)
    leases = {lease.node: lease for lease in evidence.look(stack).leases if lease.slice == life.names[0]}
    return [
        Breach("lost", f"{life.names[0]} on {node}", f"{state}, generation {generation}, {left:.0f} s left")
        for node, state, generation, left in _slivers(stack, life)
        if state != "running" or left <= 0 or node not in leases or leases[node].generation < 2
        # A lease that had lapsed is not renewed but granted anew, with another ticket: `running` says it never did.
    ]


def _ending(stack: Stack) -> list[Breach]:
    """I5: nobody renews, the nodes die and come back, and every sliver ends with its lease and grace."""
    time.sleep(SHORT_LEASE / 2)
    for name in stack.names("nodemgr"):
        stack.kill(name)
    until(stack.all_ready, 60)
    time.sleep(SHORT_LEASE + GRACE + EXPIRY_ROUNDS)
    found = evidence.look(stack)
    overdue = [(lease.slice, lease.node) for lease in found.leases if lease.overdue > GRACE]
    return [Breach("doubled", f"{slice} on {node}", "I5: alive after its lease and grace") for slice, node in overdue]


def _slivers(stack: Stack, life: Life) -> list[tuple[str, str, int, float]]:
    with stack.connect() as database:
        rows = database.execute(_LEFT, [life.names[0]])
        return [(str(node), str(state), int(generation), float(left)) for node, state, generation, left in rows]
