"""Nodes that come back with an old copy of their own database: of before a slice was created, given a key, and so on.

What the node has forgotten comes right by itself, or is reported: keys that are lost are pushed, a lease whose renewal
is lost is renewed, a sliver that is lost is reported as missing, one that was deleted and is there again as an orphan.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import count
from pathlib import Path

from tests.faults import evidence, invariants
from tests.faults.breaking import points
from tests.faults.breaking.rhythm import until
from tests.faults.invariants import Breach
from tests.faults.life import VERBS, Life, settled
from tests.faults.runner import CONVERGED_WITHIN, Outcome
from tests.faults.stack import DICE, GRACE, Counted, Stack
from tests.faults.watch import Watch

PUT_BACK = "nodes come back with an old database"
DEADLY = f"{PUT_BACK}, a worker dies at each point of reconcile"
PUT_BACK_CASES = (PUT_BACK, DEADLY)
NODES = 12
"""At most so many for each slice; half of them are put back."""
DONE_WITHIN = 60
_numbers = count(1)


def run_put_back(stack: Stack, name: str) -> Outcome:
    """One of `PUT_BACK_CASES`: each verb on nodes of its own, half of which then have the databases of before it."""
    stack.counted, outcome = Counted("reconcile"), Outcome(name, runs=1)
    size = min(NODES, len(stack.addresses) // len(VERBS))
    lives = {
        verb: Life(stack, [f"o{next(_numbers)}"], stack.addresses[place * size : (place + 1) * size])
        for place, verb in enumerate(VERBS)
    }
    watch = Watch(stack)
    watch.start()
    for verb, life in lives.items():
        for earlier in VERBS[: VERBS.index(verb)]:
            outcome.note(_done(life, earlier))
    with old_databases(stack, [node for life in lives.values() for node in DICE.sample(life.nodes, size // 2)]):
        for verb, life in lives.items():
            outcome.note(_done(life, verb))
    ended = time.monotonic()
    with points.each("worker")(stack) if name == DEADLY else nullcontext():
        found = _converged(stack)
    outcome.note(found)
    outcome.seconds = time.monotonic() - ended
    for verb in VERBS[:-1]:
        outcome.note(_done(lives[verb], "deleteslice"))
    outcome.note(_converged(stack))
    watch.stop()
    outcome.steps, outcome.kills = sum(life.steps() for life in lives.values()), stack.counted.kills
    outcome.why += [f"nobody died at: {point}" for point in stack.counted.missed]
    outcome.note(Breach("doubled", name, why) for why in watch.breaches)
    return outcome


@contextmanager
def old_databases(stack: Stack, nodes: Sequence[str]) -> Iterator[None]:
    """What these nodes have at the beginning they have again at the end."""
    folders = {address: folder for _, address, folder in stack.node_folders() if address in nodes}
    for folder in folders.values():
        _copy(folder / "node.db", folder / "old.db")
    yield
    begun = time.monotonic()
    processes = stack.names("nodemgr")
    for process in processes:
        stack.stop(process)
    until(lambda: not any(stack.pid(process) for process in processes), 30)
    for address, folder in folders.items():
        for name in ("node.db-wal", "node.db-shm"):
            (folder / name).unlink(missing_ok=True)
        (folder / "old.db").replace(folder / "node.db")
        stack.put_back[address] += 1
    for process in processes:
        stack.start(process)
    until(stack.all_ready, 60)
    for address in folders:
        stack.backs[address].append((begun, time.monotonic()))


def _copy(store: Path, to: Path) -> None:
    """A consistent one, also while the node is at work."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
    to.chmod(0o600)


def _done(life: Life, verb: str) -> list[Breach]:
    life.ask(verb, life.names)
    if settled(lambda: not life.open() and not life.undone(verb), DONE_WITHIN):
        return []
    return [Breach("lost", life.names[0], f"{verb} has not done all of its work")]


def _converged(stack: Stack) -> list[Breach]:
    """Once svmd has seen that what it finds is no mere overlap (30 s), and has looked again."""
    deadline = time.monotonic() + CONVERGED_WITHIN
    while (found := invariants.breaches(evidence.look(stack), grace=GRACE)) or stack.counted.unmet():
        if time.monotonic() > deadline:
            break
        stack.knock("reconcile-all")
        time.sleep(2)
    return found
