"""Nodes: how they misbehave (`dslice fault`), and the death of their process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.faults.breaking.rhythm import again_and_again, until
from tests.faults.stack import DICE, Stack


def misbehave(fault: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """A third of the nodes behave so."""

    @contextmanager
    def break_(stack: Stack) -> Iterator[None]:
        chosen = DICE.sample(stack.addresses, max(1, len(stack.addresses) // 3))
        for node in chosen:
            stack.misbehave(node, fault)
        stack.counted.broken += len(chosen)
        try:
            yield
        finally:
            stack.misbehave("all", "ok")

    return break_


@contextmanager
def killed(stack: Stack) -> Iterator[None]:
    """kill -9 of the processes that are the nodes; each comes back with the store it had."""
    names = stack.names("nodemgr")
    with again_and_again(lambda: stack.kill(DICE.choice(names)), (3, 6)):
        yield
    until(stack.all_ready, 60)
