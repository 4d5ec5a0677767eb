"""Every point of what a process does: it dies there, once at each (`tests.faults.crashing`)."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from tests.faults.breaking.rhythm import again_and_again, until
from tests.faults.crashing import POINTS, daemons, worker
from tests.faults.stack import Stack

CREW = {"worker": 3}
ROLES = {"simnodes": "nodemgr"}
"""As `dslice ps` calls them, where that differs."""
LAST_CHANCE = 40
"""Seconds for the points that come after all work is done."""
REPOSITORY = Path(__file__).parents[3]


def each(role: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """In place of the testbed's processes of that role some that die at each point that they come to."""

    @contextmanager
    def break_(stack: Stack) -> Iterator[None]:
        names = stack.names(ROLES.get(role, role))
        if role != "worker" and len(names) != 1:
            raise ValueError(f"the points of {role} are for one process of it; there are {len(names)}")
        folder = Path(tempfile.mkdtemp(prefix="points-", dir=stack.folder))
        verb, killed = stack.counted.verb, stack.counted.kills
        _take_down(stack, names)
        crew = _start(stack, role, names[0], folder)
        stack.counted.unmet = lambda: bool(missed(role, verb, folder))
        try:
            with _names_given_back(stack) if (role, verb) == ("agent", "deleteslice") else nullcontext():
                yield
                until(lambda: not stack.counted.unmet(), LAST_CHANCE)
        finally:
            os.killpg(crew.pid, signal.SIGKILL)
            crew.wait()
            for name in names:
                stack.start(name)
            until(stack.all_ready, 60)
        stack.counted.kills = killed + len(list(folder.iterdir()))
        stack.counted.missed += missed(role, verb, folder)

    return break_


@contextmanager
def _names_given_back(stack: Stack) -> Iterator[None]:
    """A name that the agent would not take back is given by `clean`, and that soon."""
    with again_and_again(lambda: stack.knock("clean"), (2, 3)):
        yield


def missed(role: str, verb: str, folder: Path) -> list[str]:
    """Points that this verb must have come to at which nobody died yet."""
    wanted = worker.required(verb) if role == "worker" else daemons.required(role, verb)
    return sorted(wanted - {path.name for path in folder.iterdir()})


def _take_down(stack: Stack, names: list[str]) -> None:
    for name in names:
        stack.stop(name)
    until(lambda: not any(stack.pid(name) for name in names), 30)


def _start(stack: Stack, role: str, name: str, folder: Path) -> "subprocess.Popen[bytes]":
    env = {**stack.environment(name), POINTS: str(folder), "PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-m", "tests.faults.crashing", role, str(CREW.get(role, 1))]
    with (stack.home.logs / "crashing.log").open("ab") as log:
        return subprocess.Popen(
            argv, env=env, stdout=subprocess.DEVNULL, stderr=log, cwd=stack.folder, start_new_session=True
        )
