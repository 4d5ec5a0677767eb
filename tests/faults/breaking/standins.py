"""Processes in the place of the testbed's own, which stand aside meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.faults.breaking.rhythm import until
from tests.faults.stack import Stack

REPOSITORY = Path(__file__).parents[3]
READY_WITHIN = 60
RUN = "import sys; from admin.roles import run; run(sys.argv[1])"
ROLES = {"simnodes": "nodemgr"}
"""As `dslice ps` calls them, where that differs."""


def names_of(stack: Stack, role: str) -> list[str]:
    """The testbed's processes that are this (a key of `admin.roles.MAINS`)."""
    return stack.names(ROLES.get(role, role))


@contextmanager
def aside(stack: Stack, names: Sequence[str]) -> Iterator[None]:
    """Without these for a while. That they end is not counted."""
    killed = stack.counted.kills
    for name in names:
        stack.stop(name)
    until(lambda: not any(stack.pid(name) for name in names), 30)
    stack.counted.kills = killed
    try:
        yield
    finally:
        for name in names:
            stack.start(name)
        until(lambda: stack.all_ready(names), READY_WITHIN)


@contextmanager
def standing_in(stack: Stack, name: str, argv: Sequence[str], more: Mapping[str, str]) -> Iterator[None]:
    """A program of Python (`argv`) with the settings of the daemon `name` and `more`, until the block ends."""
    env = {**stack.environment(name), "PYTHONPATH": str(REPOSITORY), **more}
    with (stack.home.logs / "stand-in.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *argv], env=env, stdout=log, stderr=log, cwd=stack.folder, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def with_settings(stack: Stack, role: str, more: Mapping[str, str]) -> Iterator[None]:
    """All processes of that role with other settings."""
    names = names_of(stack, role)
    with ExitStack() as standing:
        standing.enter_context(aside(stack, names))
        for name in names:
            standing.enter_context(standing_in(stack, name, ["-c", RUN, role], more))
        yield
