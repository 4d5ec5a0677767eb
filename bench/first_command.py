"""Time to the first command: from asking svmd for a slice on one node to the first output in it; without a pool = 1.0.

Two testbeds of two nodes each, one whose nodes keep slivers prepared and one whose do not, take turns. A client with a
connection that is open asks for the slice and for its key, follows until both are done, and logs in with OpenSSH.
"""

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.tools.stage import testbed
from bench.tools.tables import Cell, Table
from models.states import Kind
from svm.client import Svmd
from svm.flags import Flags
from svm.home import Home as Keys
from svm.request import Request
from svm.slicefile import SliceFile
from svm.sshconfig import hosts
from testbed.home import PI, Home
from trust.errors import Refusal
from trust.sshkeys import new_ssh_key_pair

DRIVER = os.environ.get("BENCH_SLIVER", "bubblewrap")
NODES = 2
READY = 2  # the default of a node manager
ROW, EVERY = 100, 0.2  # slices one after the other, and seconds between two
TURN = 25  # of a row, before it is the other testbed's turn
CROWD = 100
PATIENCE = 120  # seconds


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from the question to the sliver with its key, and to the first output in it."""

    made: float
    first: float


@dataclass(frozen=True, slots=True)
class Place:
    """One testbed, its user's environment and key, and how its nodes are logged in to."""

    home: Home
    variables: Mapping[str, str]
    public_key: str
    login: Sequence[str]

    def svmd(self, number: int) -> Svmd:
        """A connection that is open; of two users in turns, for nobody may have a hundred slices."""
        return connected(self.home, self.variables, (PI, "pi2@testbed.example")[number % 2])


def main() -> list[Table]:
    with ExitStack() as stack:
        places = {ready: stack.enter_context(place(ready)) for ready in (READY, 0)}
        rows: dict[int, list[Took]] = {ready: [] for ready in places}
        for turn in range(ROW // TURN):
            for ready, at in places.items():
                rows[ready] += asked(at, f"row{turn}x", TURN, EVERY)
        crowds = {ready: asked(at, "crowd", CROWD, 0) for ready, at in places.items()}
    cells = [
        _row(what, ready, took, _at(found[0], 0.5))
        for what, found in (("in a row", rows), ("at once", crowds))
        for ready, took in found.items()
    ]
    title = f"Slices of one node, {DRIVER}, {NODES} nodes, milliseconds until it is made and until the first output"
    return [Table("first_command", title, HEAD, cells)]


HEAD = ("", "prepared", "done", "made p50", "made p99", "output p50", "output p99", "slowest", "against none prepared")


def _row(what: str, ready: int, took: Sequence[Took], base: float) -> list[Cell]:
    made, first = ([_at(took, part, of) * 1000 for part in (0.5, 0.99)] for of in ("made", "first"))
    return [what, ready, len(took), *made, *first, _at(took, 1.0) * 1000, _at(took, 0.5) / base]


def asked(at: Place, name: str, number: int, every: float) -> list[Took]:
    """So many slices, one `every` seconds, each on one node; deleted at the end. Those that failed are said, and not
    among the figures."""
    connections = [at.svmd(index) for index in range(number)]
    found: list[Took] = []
    began = time.perf_counter() + 0.5

    def one(index: int) -> None:
        time.sleep(max(0, began + index * every - time.perf_counter()))
        try:
            found.append(first_command(at, connections[index], f"{name}{index}"))
        except (Refusal, AssertionError) as failure:
            print(f"  {name}{index} failed: {failure}")

    def gone(index: int) -> None:
        followed(connections[index], Request("deleteslice", f"{name}{index}"))
        connections[index].close()

    together(one, number)
    together(gone, number)
    return found


def together(work: Callable[[int], None], number: int) -> None:
    """`work` so many times, each in a thread of its own, to their ends."""
    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


def first_command(at: Place, svmd: Svmd, name: str) -> Took:
    """One slice, from the question to the first output."""
    began = time.perf_counter()
    started = svmd.start(Request("createslice", name, file=SliceFile(name, 1, 3600)))
    # Written down at once, and pushed as soon as the sliver runs: by the first, which then ends with that.
    key = svmd.start(Request("addkey", name, keys=(at.public_key,)))
    ((node, kind),) = ended(svmd, started.operation)
    if kind != Kind.ADDKEY:  # it ran before its key was written down
        ended(svmd, key.operation)
    made = time.perf_counter()
    with subprocess.Popen([*at.login, "-l", name, node, "echo in"], stdout=subprocess.PIPE) as ssh:
        assert ssh.stdout is not None
        assert ssh.stdout.read(1) == b"i", f"the login to {name} failed"
        first = time.perf_counter()
    return Took(made - began, first - began)


def followed(svmd: Svmd, request: Request) -> None:
    """Ask for an operation, and wait for its end."""
    ended(svmd, svmd.start(request).operation)


def ended(svmd: Svmd, operation: str) -> list[tuple[str, str]]:
    """Wait for an operation's end: the nodes for which it is done, each with the kind of its last step."""
    nodes = []
    for event in svmd.events(operation):
        if event["type"] == "node" and event["ok"]:
            nodes.append((str(event["node"]), str(event["kind"])))
    assert event["detail"]["outcome"] == "done", event
    return nodes


@contextmanager
def place(ready: int) -> Iterator[Place]:
    """A testbed whose nodes keep so many slivers ready."""
    os.environ["DSLICE_READY_SLIVERS"] = str(ready)
    with (
        tempfile.TemporaryDirectory() as folder,
        testbed(folder, "--nodes", str(NODES), "--sliver", DRIVER) as stage,
    ):
        key = Path(folder, "key")
        private, public = new_ssh_key_pair("bench")
        key.touch(0o600)
        key.write_text(private)
        known = Path(folder, "known_hosts")
        known.write_text(host_keys(connected(stage.home, stage.variables, PI)))
        options = {"UserKnownHostsFile": known, "GlobalKnownHostsFile": "/dev/null", "BatchMode": "yes", "Port": 2222}
        flags = [f"-o{name}={value}" for name, value in options.items()]
        yield Place(stage.home, stage.variables, public, ["ssh", "-F", "/dev/null", "-i", str(key), *flags])


def connected(home: Home, variables: Mapping[str, str], user: str) -> Svmd:
    """svmd as one of the testbed's users."""
    urls = (variables["DSLICE_PLC_URL"], variables["DSLICE_SVMD_URL"])
    svmd = Svmd(Keys(home.user(user), *urls, Path(variables["DSLICE_CA_FILE"])), Flags())
    svmd.slices()
    return svmd


def host_keys(svmd: Svmd) -> str:
    """The nodes' host keys, as known_hosts has them, from a slice on both; so everybody is awake, too."""
    followed(svmd, Request("createslice", "first", file=SliceFile("first", NODES, 3600)))
    found = hosts(svmd.slice("first"))
    followed(svmd, Request("deleteslice", "first"))
    svmd.close()
    return "".join(f"[{host.node}]:{host.port} {host.host_key}\n" for host in found)


def _at(took: Sequence[Took], part: float, what: str = "first") -> float:
    """The value that `part` of them do not exceed."""
    values: list[float] = sorted(getattr(each, what) for each in took)
    return statistics.quantiles(values, n=100, method="inclusive")[round(part * 100) - 1] if part < 1 else values[-1]
