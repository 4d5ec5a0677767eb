"""Every point of a step's way: a worker dies there, once at each (`tests.faults.crashing`)."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.breaking.rhythm import until
from tests.faults.crashing import POINTS, REQUIRED
from tests.faults.stack import Stack

CREW = 3
REPOSITORY = Path(__file__).parents[3]


@contextmanager
def each(stack: Stack) -> Iterator[None]:
    """In place of the testbed's workers some that die at each point that they come to; each is started again."""
    names = stack.names("worker")
    folder = Path(tempfile.mkdtemp(prefix="points-", dir=stack.folder))
    for name in names:
        stack.stop(name)
    until(lambda: not any(stack.pid(name) for name in names), 30)
    killed = stack.counted.kills - len(names)
    crew = _start(stack, folder)
    try:
        yield
    finally:
        os.killpg(crew.pid, signal.SIGKILL)
        crew.wait()
        stack.counted.kills = killed + len(list(folder.iterdir()))
        for name in names:
            stack.start(name)
    stack.counted.missed += missed({path.name for path in folder.iterdir()})


def missed(points: set[str]) -> list[str]:
    """Points of the kinds that came by at which nobody died."""
    kinds = {point.partition(",")[0] for point in points if point.endswith("claim committed")}
    return sorted({f"{kind}, {place}" for kind in kinds - {"reconcile", "canary"} for place in REQUIRED} - points)


def _start(stack: Stack, folder: Path) -> "subprocess.Popen[bytes]":
    env = {**stack.environment("worker1"), POINTS: str(folder), "PYTHONPATH": str(REPOSITORY)}
    with (stack.home.logs / "crashing.log").open("ab") as log:
        argv = [sys.executable, "-m", "tests.faults.crashing", str(CREW)]
        return subprocess.Popen(
            argv, env=env, stdout=subprocess.DEVNULL, stderr=log, cwd=stack.folder, start_new_session=True
        )
