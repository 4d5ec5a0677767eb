"""svmd killed, the agent down, plc down."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.breaking.rhythm import again_and_again, until
from tests.faults.stack import Stack


@contextmanager
def svmd_killed(stack: Stack) -> Iterator[None]:
    """kill -9 of svmd, also between its commit and what it publishes."""
    with again_and_again(lambda: stack.kill("svmd"), (0.5, 2)):
        yield


@contextmanager
def agent_down(stack: Stack) -> Iterator[None]:
    """No agent."""
    stack.stop("agent")
    try:
        yield
    finally:
        stack.start("agent")
        until(stack.all_ready, 60)


@contextmanager
def plc_down(stack: Stack) -> Iterator[None]:
    """No plc: nobody registers or gives back a name, no revocation list is newer than before."""
    stack.stop("plc")
    try:
        yield
    finally:
        stack.start("plc")
        until(stack.all_ready, 60)
