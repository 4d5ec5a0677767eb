"""A node manager as `dslice run nodemgr` starts it, over real slivers: what becomes of them when something breaks."""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.client import AgentClient
from nodemgr.client import NodeClient, SliverReply
from nodemgr.reclaim import TRIES
from nodemgr.slivers.drivers.choice import open_driver
from rpc.aio import Session
from tests.integration.nodemgr.conftest import KEY_PAIR
from tests.integration.nodemgr.daemons import AGENT, Daemons, ask
from tests.integration.slivers.conftest import open_node
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@dataclass
class Place:
    """One real node, started and stopped at the same ports, and a slice that has a sliver on it."""

    daemons: Daemons
    session: Session
    agent: AgentClient
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.address = f"{self.daemons.lab.network}.200"
        self.api, self.door = free_ports(self.address)
        self.folder = self.daemons.folder / "d200/slivers"

    def start(self) -> None:
        settings = {
            "DSLICE_SLIVER_DRIVER": "auto",
            "DSLICE_LISTEN": f"{self.address}:{self.api}",
            "DSLICE_FRONTDOOR": f"{self.address}:{self.door}",
        }
        self.stack.enter_context(self.daemons.node(settings=settings, kill=True))

    def stop(self) -> None:
        """kill -9."""
        self.stack.close()

    @property
    def log(self) -> str:
        return (self.daemons.folder / "nodemgr.daemon.log").read_text()

    @property
    def client(self) -> NodeClient:
        return NodeClient(self.session, f"https://{self.address}:{self.api}", Identity(Role.NODE, "d200"))

    async def sliver(self) -> tuple[str, str]:
        """A new one: its slice, and the lease."""
        name, found = await ask(self.agent, 1)
        lease = await self.client.redeem(found.promises[0].token, None)
        await self.client.create(name, lease.token, *KEY_PAIR, None)
        return name, lease.token

    def keeper(self, slice: str) -> int:
        return int(json.loads((self.folder / slice / "keeper.json").read_text())["pid"])

    async def until(self, slice: str, state: str) -> SliverReply:
        found: list[SliverReply] = []
        for _ in range(600):
            found = [one for one in await self.client.inventory() if one.slice == slice]
            if found and found[0].state == state:
                return found[0]
            await asyncio.sleep(0.05)
        raise AssertionError(f"never {state}: {found}; {self.log}")

    def ssh(self, slice: str, command: str) -> str:
        """By the real client, with the slice's own key."""
        key = self.daemons.folder / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_text(KEY_PAIR[0])
        options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", str(key)]
        line = ["ssh", *options, "-p", str(self.door), "-l", slice, self.address, command]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (done.stderr, self.log)
        return done.stdout.strip()


def wait_for(place: Place, slice: str, name: str) -> None:
    """A file in the login's home, seen from outside; it may be on a disk that is mounted in the sliver alone."""
    home = Path(f"/proc/{place.keeper(slice)}/root/home/{slice}")
    end = time.monotonic() + 60
    while not (home / name).exists():
        assert time.monotonic() < end, f"never made: {name} in {home}"
        time.sleep(0.05)


def free_ports(address: str) -> list[int]:
    """Two that nobody has, and that no outgoing connection gets meanwhile."""
    found = []
    for port in random.sample(range(10_000, 32_000), 100):
        with suppress(OSError), closing(socket.create_server((address, port))):
            found.append(port)
    return found[:2]


@pytest.fixture
async def place(daemons: Daemons, as_pi: Session, tmp_path: Path) -> AsyncIterator[Place]:
    """The node runs; its slivers end with the test."""
    if shutil.which("ssh") is None:
        pytest.skip("no OpenSSH client")
    with open_node("auto", tmp_path / "try", None), daemons.agent() as agent:  # or it is skipped, with the reason
        made = Place(daemons, as_pi, AgentClient(as_pi, f"https://{agent}", AGENT))
        made.start()
        try:
            yield made
        finally:
            made.stop()
            driver = open_driver("auto", made.folder)
            for slice in await driver.list():
                await driver.delete(slice)


async def stop_and_start(place: Place, slice: str) -> None:
    """One that was stopped says so, and stays so when its node is killed."""
    slice_id, began = (await place.client.get(slice)).slice_id, datetime.now(UTC)
    for what in ("stop", "stop"):
        said = await place.client.order(what, slice, slice_id, began, None)
        assert (said.state, said.has_vm) == ("leased", False)
        assert said.stopped
        assert (said.stopped.ordered, said.stopped.reason) == (True, "")
    with pytest.raises(AssertionError, match=f"was stopped, 20.* svm start {slice} starts it"):
        place.ssh(slice, "true")
    place.stop()
    place.start()
    with pytest.raises(AssertionError, match=f"was stopped, 20.* svm start {slice} starts it"):
        place.ssh(slice, "true")
    later = began + timedelta(seconds=1)
    assert (await place.client.order("start", slice, slice_id, later, None)).state == "running"
    assert place.ssh(slice, "cat ~/file") == "kept"
    running = place.keeper(slice)
    with pytest.raises(Refusal) as late:
        await place.client.order("stop", slice, slice_id, began, None)
    assert late.value.code is Code.STALE_GENERATION
    assert place.keeper(slice) == running
    for _ in range(2):
        await place.client.order("restart", slice, slice_id, later + timedelta(seconds=1), None)
    restarted = place.keeper(slice)
    assert restarted != running
    assert place.ssh(slice, "cat ~/file; hostname -f; getent hosts d200").split() == [
        *("kept", "d200", place.address, "d200"),
    ]


async def test_a_sliver_that_died_or_was_stopped_is_said_not_to_run_and_runs_again(place: Place) -> None:
    slice, lease = await place.sliver()
    place.ssh(slice, "echo kept > ~/file")
    os.kill(place.keeper(slice), signal.SIGKILL)
    said = await place.until(slice, "leased")
    assert not said.has_vm
    assert said.stopped
    assert (said.stopped.ordered, said.stopped.reason) == (False, "ended by itself")
    again = await place.client.create(slice, lease, *KEY_PAIR, None)
    assert (again.state, again.generation) == ("running", 1)
    assert place.ssh(slice, "cat ~/file") == "kept"
    place.stop()
    os.kill(place.keeper(slice), signal.SIGKILL)
    place.start()
    await place.until(slice, "running")  # with its node, as after a reboot
    assert place.ssh(slice, "cat ~/file") == "kept"
    await stop_and_start(place, slice)


async def test_a_damaged_record_stops_no_node_manager(place: Place) -> None:
    (first, lease), (second, _), (third, _) = [await place.sliver() for _ in range(3)]
    for slice in (first, second):
        place.ssh(slice, "echo kept > ~/file")
    kept = place.keeper(third)
    place.stop()
    (place.folder / first / "sliver.json").write_bytes(b"")
    (place.folder / second / "keeper.json").write_bytes(b"{")
    place.start()
    states = {one.slice: one.state for one in await place.client.inventory()}
    assert states == {first: "leased", second: "running", third: "running"}
    assert place.keeper(third) == kept
    assert all(f"the sliver of {slice} is damaged" in place.log for slice in (first, second))
    await place.client.create(first, lease, *KEY_PAIR, None)
    assert [place.ssh(slice, "cat ~/file") for slice in (first, second)] == ["kept", "kept"]


# Takes one port of the node and listens at the other, as soon as they are to be had (old connections still linger).
HOLD = """
import socket, sys, time
def take(port):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        try:
            one.bind((sys.argv[1], int(port)))
            return one
        except OSError:
            time.sleep(0.01)
bound = take(sys.argv[2])
bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # or another could bind it too, for it does not listen
listens = take(sys.argv[3])
listens.listen()
open("held", "w").close()
time.sleep(1000)
"""


async def test_ports_that_a_sliver_took_meanwhile_are_taken_back(place: Place) -> None:
    slice, _ = await place.sliver()
    quietly = "</dev/null >/dev/null 2>&1 &"
    place.ssh(slice, f"cat > hold.py <<'END'\n{HOLD}\nEND\n")
    place.ssh(
        slice, f"nohup python3 hold.py {place.address} {place.api} {place.door} {quietly} nohup sleep 1003 {quietly}"
    )
    place.stop()
    wait_for(place, slice, "held")
    place.start()
    await place.until(slice, "running")
    assert f"{slice} holds port" in place.log
    assert place.ssh(slice, "pgrep -f '[h]old.py'; pgrep -c -f '^sleep 1003'") == "1"


async def test_a_sliver_that_takes_a_port_again_and_again_is_ended(place: Place) -> None:
    slice, lease = await place.sliver()
    place.ssh(slice, f"cat > hold.py <<'END'\n{HOLD}\nEND\n")
    waiting = f"nohup setsid python3 hold.py {place.address} {place.api} {place.door} </dev/null >/dev/null 2>&1 &"
    place.ssh(slice, f"echo kept > ~/file; for i in {' '.join(map(str, range(2 * TRIES)))}; do {waiting} done")
    place.stop()
    wait_for(place, slice, "held")
    place.start()
    assert f"the sliver of {slice} takes a port of this node again and again" in place.log
    await place.until(slice, "leased")
    await place.client.create(slice, lease, *KEY_PAIR, None)
    assert place.ssh(slice, "cat ~/file") == "kept"


async def test_a_port_that_a_stranger_holds_is_named(place: Place) -> None:
    place.stop()
    with (
        closing(stranger_at(place.address, place.door)),
        pytest.raises(AssertionError, match="is in use by"),
    ):
        place.start()
    assert f"{place.address}:{place.door} is in use by " in place.log


def stranger_at(address: str, port: int) -> socket.socket:
    """Somebody who listens there, once whoever had it has let it go."""
    end = time.monotonic() + 30
    while True:
        try:
            return socket.create_server((address, port))
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
