"""A sliver with a hundred busy loops: logins to another sliver, and calls to its node; without them = 1.0.

Nothing of this is told apart from other load: on a machine that does something else, look at the ratio.
"""

import http.client
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.tools.login import logged_in, prepared
from bench.tools.stage import Stage, testbed
from bench.tools.tables import Table
from rpc.tls import client_context
from testbed.addresses import NODE_API_PORT

DRIVER = os.environ.get("BENCH_SLIVER", "auto")
LOOPS, ROUNDS, EACH = 100, 5, 8
# Each a session of its own, for some kernels weigh sessions (sched_autogroup).
BUSY = f"for i in $(seq {LOOPS}); do setsid sh -c 'while :; do :; done' & done; echo begun; wait"
HEAD = ("", "alone", "beside", "ratio")


def main() -> Sequence[Table]:
    options = ("--nodes", "1", "--sliver", DRIVER)
    with tempfile.TemporaryDirectory() as folder, testbed(folder, *options) as stage:
        quiet, busy = prepared(stage, "quiet"), prepared(stage, "busy")
        measures: dict[str, Callable[[], float]] = {
            "login with `true`": lambda: logged_in(quiet),
            "connection and call to the node": lambda: called(stage),
        }
        found: dict[tuple[str, bool], list[float]] = {}
        for _ in range(ROUNDS):
            taken(measures, found, beside=False)
            with loops(busy):
                taken(measures, found, beside=True)
    rows = []
    for name in measures:
        alone, beside = (statistics.median(found[name, beside]) for beside in (False, True))
        rows.append((name, alone, beside, beside / alone))
    return [Table("neighbour", f"Beside {LOOPS} busy loops in another sliver ({DRIVER}), milliseconds", HEAD, rows)]


def taken(
    measures: dict[str, Callable[[], float]], found: dict[tuple[str, bool], list[float]], *, beside: bool
) -> None:
    """A few of each."""
    for name, measure in measures.items():
        found.setdefault((name, beside), []).extend(measure() for _ in range(EACH))


@contextmanager
def loops(login: Sequence[str]) -> Iterator[None]:
    """The busy sliver, for as long as the block."""
    with subprocess.Popen([*login, BUSY], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as ssh:
        assert ssh.stdout is not None
        assert ssh.stdout.readline() == b"begun\n"
        try:
            yield
        finally:
            logged_in([*login], "kill -9 -1; true")


def called(stage: Stage) -> float:
    """Milliseconds of a connection with mutual TLS and one call."""
    address = f"127.0.{stage.home.plan().network}.1"
    context = client_context(stage.credentials)
    began = time.perf_counter()
    connection = http.client.HTTPSConnection(address, NODE_API_PORT, context=context, timeout=60)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    return (time.perf_counter() - began) * 1000
