"""Nodes that fail for good give way to others: `createslice --replace`, and slices that heal themselves."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from itertools import count

from tests.faults import evidence, invariants
from tests.faults.breaking import points
from tests.faults.breaking.rhythm import again_and_again
from tests.faults.invariants import Breach
from tests.faults.life import Life, settled
from tests.faults.runner import CONVERGED_WITHIN, Outcome
from tests.faults.stack import DICE, GRACE, Counted, Stack
from tests.faults.watch import Watch

MOST = 24
"""Nodes of a slice, at most; a third of all nodes is asked for."""
DONE_WITHIN = 60
REFUSED = "nodes refuse for good, replaced"
DEADLY = "a worker dies at each point of a replacement"
HEALED = "silent nodes of a healing slice are replaced"
REPLACING_CASES = (REFUSED, DEADLY, HEALED)
_KEYS = """SELECT v.node, x.public_key FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
           WHERE x.name = %s AND v.state = 'running'"""
_numbers = count(1)


def run_replacing(stack: Stack, name: str) -> Outcome:
    """One of `REPLACING_CASES`, once."""
    stack.counted, outcome = Counted("replace"), Outcome(name, runs=1)
    life = Life(stack, [f"r{next(_numbers)}"], stack.addresses, numnodes=min(MOST, len(stack.addresses) // 3))
    watch = Watch(stack)
    watch.start()
    if name == HEALED:
        outcome.note(_healed(stack, life, outcome))
    else:
        deaths = points.each("worker") if name == DEADLY else _nobody
        outcome.note(_made(stack, life, outcome, deaths))
    outcome.note(_whole(stack, life))
    outcome.note(_done(life, "deleteslice"))
    watch.stop()
    outcome.steps, outcome.kills, outcome.broken = life.steps(), stack.counted.kills, stack.counted.broken
    outcome.why += [f"nobody died at: {point}" for point in stack.counted.missed]
    outcome.note(Breach("doubled", name, why) for why in watch.breaches)
    return outcome


def _made(
    stack: Stack, life: Life, outcome: Outcome, deaths: Callable[[Stack], AbstractContextManager[None]]
) -> list[Breach]:
    """A third of all nodes refuse while the slice is made and given keys, and go on refusing until it is whole."""
    with _broken(stack, DICE.sample(stack.addresses, len(stack.addresses) // 3)):
        with deaths(stack):
            life.ask("createslice", life.names)
            settled(lambda: not life.open(), CONVERGED_WITHIN)
        return _converged(stack, life, outcome, again=True)


def _healed(stack: Stack, life: Life, outcome: Outcome) -> list[Breach]:
    """Some of its nodes fall silent; nobody asks for anything."""
    found = [*_done(life, "createslice"), *_done(life, "addkey"), *_done(life, "heal")]
    nodes = [node for node, _ in _running(stack, life)]
    with _broken(stack, DICE.sample(nodes, max(1, len(nodes) // 4))) as silent:
        with again_and_again(lambda: stack.knock("reconcile-all"), (2, 3)):
            settled(lambda: not set(silent) & {node for node, _ in _running(stack, life)}, CONVERGED_WITHIN)
        return found + _converged(stack, life, outcome, again=False)


@contextmanager
def _broken(stack: Stack, nodes: Sequence[str]) -> Iterator[Sequence[str]]:
    for node in nodes:
        stack.misbehave(node, "refuse")
    stack.counted.broken += len(nodes)
    try:
        yield nodes
    finally:
        stack.misbehave("all", "ok")


def _converged(stack: Stack, life: Life, outcome: Outcome, *, again: bool) -> list[Breach]:
    """numnodes running, with keys, while the broken nodes are still broken. `again`: the command may be typed again."""
    begun = time.monotonic()
    while found := [
        Breach("lost", name, "is not whole") for verb in ("createslice", "addkey") for name in life.undone(verb)
    ]:
        if time.monotonic() > begun + CONVERGED_WITHIN:
            break
        if again and not life.open():
            outcome.again += bool(life.undone("createslice"))
            life.ask("createslice" if life.undone("createslice") else "addkey", life.names)
        time.sleep(1)
    outcome.seconds = time.monotonic() - begun
    return found


def _whole(stack: Stack, life: Life) -> list[Breach]:
    """Exactly numnodes, each with the slice's key pair; what is left on replaced nodes is removed."""
    deadline = time.monotonic() + CONVERGED_WITHIN
    while (found := invariants.breaches(evidence.look(stack), grace=GRACE)) and time.monotonic() < deadline:
        stack.knock("reconcile-all")
        time.sleep(2)
    running = _running(stack, life)
    if len(running) > (life.numnodes or 0):
        found.append(Breach("doubled", life.names[0], f"{len(running)} nodes run, {life.numnodes} were asked for"))
    folders = {address: folder for _, address, folder in stack.node_folders()}
    for node, key in running:
        with closing(sqlite3.connect(f"file:{folders[node] / 'node.db'}?mode=ro", uri=True)) as store:
            row = store.execute("SELECT slice_key FROM lease WHERE slice = ?", [life.names[0]]).fetchone()
        if row is None or row[0].split()[:2] != key.split()[:2]:
            found.append(Breach("lost", f"{life.names[0]} on {node}", "it has not the slice's key"))
    return found


def _running(stack: Stack, life: Life) -> list[tuple[str, str]]:
    with stack.connect() as database:
        return [(str(node), str(key)) for node, key in database.execute(_KEYS, [life.names[0]])]


def _done(life: Life, verb: str) -> list[Breach]:
    life.ask(verb, life.names)
    if settled(lambda: not life.open() and not life.undone(verb), DONE_WITHIN):
        return []
    return [Breach("lost", life.names[0], f"{verb} has not done all of its work")]


def _nobody(stack: Stack) -> AbstractContextManager[None]:
    del stack
    return nullcontext()
