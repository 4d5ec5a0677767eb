"""Every point of what a process does: it dies there, once at each (`tests.faults.crashing`)."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from tests.faults.breaking.rhythm import again_and_again, until
from tests.faults.breaking.standins import aside, names_of, standing_in
from tests.faults.crashing import POINTS, daemons, worker
from tests.faults.stack import Stack

CREW = {"worker": 3}
LAST_CHANCE = 40
"""Seconds for the points that come after all work is done."""


def each(role: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """In place of the testbed's processes of that role some that die at each point that they come to."""

    @contextmanager
    def break_(stack: Stack) -> Iterator[None]:
        names = names_of(stack, role)
        if role != "worker" and len(names) != 1:
            raise ValueError(f"the points of {role} are for one process of it; there are {len(names)}")
        folder = Path(tempfile.mkdtemp(prefix="points-", dir=stack.folder))
        verb = stack.counted.verb
        argv = ["-m", "tests.faults.crashing", role, str(CREW.get(role, 1))]
        stack.counted.unmet = lambda: bool(missed(role, verb, folder))
        helped = _names_given_back(stack) if (role, verb) == ("agent", "deleteslice") else nullcontext()
        with aside(stack, names), standing_in(stack, names[0], argv, {POINTS: str(folder)}), helped:
            yield
            until(lambda: not stack.counted.unmet(), LAST_CHANCE)
        stack.counted.kills += len(list(folder.iterdir()))
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
