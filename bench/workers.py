"""Two workers beside one = 1.0, where a worker's window is the limit; and a worker that is killed in the middle.

Nodes answer so slowly, and a worker does so little at once, that the processor has time to spare. Killed is the worker
that has more under way; its steps' time until all have ended is set beside that of steps which nobody disturbs.
"""

import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from unittest.mock import patch

from sqlalchemy import Connection, text

from bench.tools import processes
from bench.tools.scale import full
from bench.tools.stage import Stage, testbed
from bench.tools.tables import Cell, Table
from lifecycle.presence import absent
from testbed.shell import programs

LATENCY = 500  # milliseconds
THREADS = "2"  # messages that a worker has at work at once
WINDOW = "1024"
PATIENCE = 120  # seconds
Found = TypeVar("Found")
# What is under way, by worker.
CLAIMED = text("SELECT claim_worker, array_agg(id) FROM svm.step WHERE state = 'running' GROUP BY claim_worker")
LAST_END = text("""
    SELECT CASE WHEN bool_and(ended_at IS NOT NULL) THEN extract(epoch FROM max(ended_at))::float8 END
    FROM svm.step WHERE id = ANY(:steps)""")
NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")


def main() -> Sequence[Table]:
    size, rounds = (1000, 5) if full() else (256, 3)
    variables = {"DSLICE_WORKER_THREADS": THREADS, "DSLICE_WORKER_RESERVED": "0"}
    options = ("--nodes", "0", "--simulated", str(size), "--workers", "2")
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, variables), testbed(folder, *options) as stage:
        stage.slow(LATENCY)
        alone, both = [], []
        for number in range(rounds):  # in turns, so that other load on the machine hits both
            with without_second(stage):
                alone.append(made(stage, f"alone{number}", size))
            both.append(made(stage, f"both{number}", size))
        stage.slow(LATENCY)
        undisturbed, killed = (until_ended(stage, f"steps{kill:d}", size, kill=kill) for kill in (False, True))
    one, two = statistics.median(alone), statistics.median(both)
    rows: list[Sequence[Cell]] = [
        ("createslice, 1 worker", one, 1.0),
        ("createslice, 2 workers", two, one / two),
        ("steps under way, undisturbed", undisturbed, 1.0),
        ("steps under way, their worker killed", killed, killed / undisturbed),
    ]
    title = f"{size} nodes of {LATENCY} ms, workers with {THREADS} messages at once; medians of {rounds}"
    return [Table("workers", title, ("", "s", "ratio"), rows)]


def made(stage: Stage, name: str, size: int) -> float:
    """Seconds of one createslice."""
    file = stage.slice_file(name, size)
    began = time.perf_counter()
    stage.svm("-p", WINDOW, "createslice", str(file))
    took = time.perf_counter() - began
    stage.slow(0)
    stage.svm("-p", WINDOW, "deleteslice", name)
    stage.slow(LATENCY)
    return took


@contextmanager
def without_second(stage: Stage) -> Iterator[None]:
    """One worker alone."""
    dslice = [str(programs() / "dslice")]
    here = ["worker2", "--home", str(stage.home.directory)]
    subprocess.run([*dslice, "stop", *here], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*dslice, "start", *here], check=True, capture_output=True)


def until_ended(stage: Stage, name: str, size: int, *, kill: bool) -> float:
    """Seconds until the steps that one worker has in the middle of a createslice have ended."""
    argv = [str(programs() / "svm"), "-p", WINDOW, "createslice", str(stage.slice_file(name, size))]
    command = subprocess.Popen(argv, env=stage.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = stage.database()
    with found.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        steps = under_way(connection)
        began = connection.execute(NOW).scalar_one()
        if kill:
            os.kill(processes.parts(stage.home)["worker"][0], signal.SIGKILL)
            steps = {worker: steps[worker] for worker in waited(lambda: absent(connection), 10) if worker in steps}
        ids = [id for each in steps.values() for id in each]
        ended = waited(lambda: connection.execute(LAST_END, {"steps": ids}).scalar(), PATIENCE)
    found.dispose()
    assert command.wait(PATIENCE) == 0, "not all nodes were made"
    return float(ended - began)


def under_way(connection: Connection) -> dict[int, list[int]]:
    """Steps that are claimed now, by worker, once both workers have some."""

    def both() -> dict[int, list[int]] | None:
        found = {int(worker): list(ids) for worker, ids in connection.execute(CLAIMED) if worker is not None}
        return found if len(found) > 1 else None

    return waited(both, PATIENCE)


def waited(look: Callable[[], Found | None], longest: float) -> Found:
    """What a look finds, once it finds something."""
    end = time.monotonic() + longest
    while not (found := look()):
        assert time.monotonic() < end, f"nothing was found in {longest} s"
        time.sleep(0.02)
    return found
