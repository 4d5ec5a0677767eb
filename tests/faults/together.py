"""Verbs that may run together do: keys beside renewal, reconcile beside both, two slices on each node, autorenew beside
a user, and a deletion beside all of them. Nothing else is broken; or commits are slow, so that what workers record
falls into the same ones; or workers die meanwhile."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import count

from svm.request import Request
from tests.faults import evidence, invariants
from tests.faults.breaking import database, workers
from tests.faults.invariants import Breach
from tests.faults.life import Life, settled
from tests.faults.runner import CONVERGED_WITHIN, Outcome
from tests.faults.stack import GRACE, Counted, Stack
from tests.faults.watch import Watch
from trust.errors import Code, Refusal

NODES = 24
ROUNDS = 12
LEASELEN = 60
"""Seconds: autorenew comes several times."""
DONE_WITHIN = 60
_numbers = count(1)


@contextmanager
def _whole(stack: Stack) -> Iterator[None]:
    del stack
    yield


FAULTS: dict[str, Callable[[Stack], AbstractContextManager[None]]] = {
    "verbs side by side": _whole,
    "verbs side by side, slow commits": database.slow,
    "verbs side by side, workers: all killed at once": workers.all_killed,
}
TOGETHER_CASES = tuple(FAULTS)


def run_together(stack: Stack, name: str) -> Outcome:
    """One of `TOGETHER_CASES`, once."""
    stack.counted, outcome = Counted("together"), Outcome(name, runs=1)
    names = [f"t{next(_numbers)}" for _ in range(2)]
    life = Life(stack, names, stack.addresses[:NODES], leaselen=LEASELEN, autorenew=True)
    watch = Watch(stack)
    watch.start()
    try:
        _lived(life, FAULTS[name], watch, outcome)
    except Refusal as refusal:
        outcome.note([Breach("lost", name, refusal.reason)])
    finally:
        watch.stop()
    outcome.steps, outcome.kills = life.steps(), stack.counted.kills
    outcome.note(Breach("lost" if "lost" in why else "doubled", name, why) for why in watch.breaches)
    return outcome


def _lived(life: Life, fault: Callable[[Stack], AbstractContextManager[None]], watch: Watch, outcome: Outcome) -> None:
    """From createslice to deleteslice."""
    life.ask("createslice", life.names)
    settled(lambda: not life.undone("createslice"), DONE_WITHIN)
    with fault(life.stack):
        for number in range(ROUNDS):
            _at_once(life, _round(life, number))
            settled(lambda: not life.open(), DONE_WITHIN)
            watch.look()  # before reconcile may have mended what was lost
    begun = time.monotonic()
    outcome.note(_converged(life.stack))
    outcome.seconds = time.monotonic() - begun
    _at_once(life, [*_round(life, 0), *(Request("deleteslice", name) for name in life.names)])
    if not settled(lambda: not life.open() and not _deleted(life), DONE_WITHIN):
        outcome.note(Breach("lost", name, "deleteslice has not done all of its work") for name in _deleted(life))
    outcome.note(_converged(life.stack))


def _round(life: Life, number: int) -> list[Request]:
    """A key comes or goes on all slices; the first one is renewed by its user, the others by themselves."""
    verb, key = "delkey" if number % 2 else "addkey", life.keys[:1]
    return [*(Request(verb, name, keys=key) for name in life.names), Request("renewslice", life.names[0])]


def _at_once(life: Life, requests: Sequence[Request]) -> None:
    """All asked for side by side, while each node's inventory is taken."""

    def ask(request: Request) -> None:
        try:
            life.accepted(request)
        except Refusal as refusal:
            # The deletion came first.
            if refusal.code is not Code.NOT_FOUND or all(asked.verb != "deleteslice" for asked in requests):
                raise

    life.stack.knock("reconcile-all")
    with ThreadPoolExecutor(len(requests)) as pool:
        list(pool.map(ask, requests))


def _deleted(life: Life) -> list[str]:
    """Slices whose deletion is not done; asked for again where it was refused."""
    left = life.undone("deleteslice")
    if left and not life.open():
        life.again += len(left)
        life.ask("deleteslice", left)
    return left


def _converged(stack: Stack) -> list[Breach]:
    """All agree once nothing is under way."""
    found: list[Breach] = []

    def agreed() -> bool:
        nonlocal found
        found = invariants.breaches(evidence.look(stack), grace=GRACE)
        return not found

    settled(agreed, CONVERGED_WITHIN, pause=1)
    return found
