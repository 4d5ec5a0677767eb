"""A node whose disk one sliver fills: what the node owes to the others goes on, and the one that took it is stopped.

The node manager runs as ever, on a small disk of its own, which is filled from inside a sliver.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from agent.client import AdList, AgentClient, Promise
from nodemgr.client import NodeClient
from rpc.aio import Session
from rpc.tls import client_context
from tests.integration.nodemgr.conftest import KEY_PAIR
from tests.integration.nodemgr.daemons import AGENT, Daemons, ask
from tests.integration.nodemgr.disk import lasting_disk
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

USERS = [new_ssh_key_pair(f"user{number}") for number in range(3)]
MIB = 1 << 20
FLOOR_MB = 16
TAKE_ALL = "setsid sh -c 'while :; do cat /dev/zero >>~/big; done' >/dev/null 2>&1 </dev/null &"


@dataclass
class Slice:
    """One slice on the node, by its owner."""

    name: str
    slice_id: Any
    promise: Promise
    node: NodeClient
    lease: str = ""

    async def run(self) -> None:
        self.lease = (await self.node.redeem(self.promise.token, None)).token
        await self.node.create(self.name, self.lease, *KEY_PAIR, None)

    async def keys(self, generation: int, *users: int) -> None:
        lines = [USERS[user][1] for user in users]
        assert await self.node.set_access(self.name, self.slice_id, generation, lines, None) == generation

    async def state(self) -> str:
        return (await self.node.get(self.name)).state

    async def ssh(self, folder: Path, user: int, command: str) -> subprocess.CompletedProcess[bytes]:
        door = (await self.node.get(self.name)).frontdoor
        key = folder / f"key{user}"
        if not key.exists():
            key.touch(0o600)
            key.write_text(USERS[user][0])
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "IdentitiesOnly=yes"]
        flags = [word for option in (*options, "ConnectTimeout=60") for word in ("-o", option)]
        login = ["ssh", "-F", "none", *flags, "-i", str(key), "-p", str(door.port), "-l", self.name, door.address]
        return await asyncio.to_thread(
            subprocess.run, [*login, command], stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while not await condition():
            await asyncio.sleep(0.1)


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def settings(folder: Path, floor_mb: int) -> dict[str, str]:
    return {
        "DSLICE_STATE_DIR": str(folder / "node"),
        "DSLICE_SLIVER_DRIVER": "auto",
        "DSLICE_FRONTDOOR": "",
        "DSLICE_DISK_FLOOR_MB": str(floor_mb),
        "DSLICE_DISK_SECONDS": "0.5",
        "DSLICE_ADVERTISE_SECONDS": "1",
        "DSLICE_STOPS_SECONDS": "1",
    }


async def health(session: Session, address: str) -> dict[str, Any]:
    """What it says, ready or not."""

    def ask() -> dict[str, Any]:
        with closing(HTTPSConnection(address, context=client_context(session.credentials), timeout=20)) as connection:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        assert (answer.status == 200) == (found["status"] == "ok")
        return found

    return await asyncio.to_thread(ask)


@dataclass
class Place:
    """The node on the small disk, as `seen` from this process, and the agent that knows it."""

    daemons: Daemons
    session: Session
    agent: AgentClient
    prefix: list[str]
    seen: Path
    folder: Path

    def __post_init__(self) -> None:
        network, port = self.daemons.lab.network, 20_000 + os.getpid() % 10_000
        self.common = {"DSLICE_FRONTDOOR": f"{network}.200:{port}", "DSLICE_LISTEN": f"{network}.200:0"}

    def node(self, floor_mb: int, **options: Any) -> AbstractContextManager[str]:
        wanted = settings(self.folder / "disk", floor_mb) | self.common
        return self.daemons.node(settings=wanted, prefix=self.prefix, **options)

    def client(self, address: str) -> NodeClient:
        return NodeClient(self.session, f"https://{address}", Identity(Role.NODE, "d200"))

    async def slice(self, address: str, leaselen: int = 600) -> Slice:
        name, found = await ask(self.agent, 1, leaselen)
        return Slice(name, found.slice_id, found.promises[0], self.client(address))

    async def full(self) -> None:
        await until(lambda: _is(lambda: free(self.seen) == 0))


@pytest.fixture
def place(daemons: Daemons, as_pi: Session, tmp_path: Path) -> Iterator[Place]:
    if shutil.which("ssh") is None:
        pytest.skip("no OpenSSH client here")
    with lasting_disk(tmp_path / "disk", "48m") as (prefix, seen), daemons.agent() as address:
        yield Place(daemons, as_pi, AgentClient(as_pi, f"https://{address}", AGENT), prefix, seen, tmp_path)


@pytest.mark.timeout(500)
async def test_a_sliver_that_fills_the_disk_takes_nothing_from_the_others(place: Place) -> None:
    with place.node(0, kill=True) as address:
        greedy, honest, gone, late = [await place.slice(address) for _ in range(4)]
        short = await place.slice(address, leaselen=15)
        for each in (greedy, honest, gone):
            await each.run()
        await greedy.keys(1, 0)
        await honest.keys(1, 0, 1)
        assert (await honest.ssh(place.folder, 1, "true")).returncode == 0
        await short.run()
        assert (await greedy.ssh(place.folder, 0, TAKE_ALL)).returncode == 0
        await place.full()
        await everything_owed_is_done(place, greedy, honest, gone)
    with place.node(FLOOR_MB) as address:
        for each in (greedy, honest, late):
            each.node = place.client(address)
        await the_one_that_took_it_is_stopped(place, address, greedy, honest, late)
        await it_runs_again(place, address, greedy, late)
        assert {await each.state() for each in (greedy, honest, late)} == {"running"}
        for each in (greedy, honest, late):
            await each.node.delete(each.name, each.slice_id, each.promise.jti, None)


async def everything_owed_is_done(place: Place, greedy: Slice, honest: Slice, gone: Slice) -> None:
    """Keys, renewal, deletion and a lease's end, while every byte that becomes free is taken."""
    await honest.keys(2, 0)
    assert (await honest.ssh(place.folder, 1, "true")).returncode == 255
    await honest.keys(3, 0, 2)
    assert (await honest.ssh(place.folder, 2, "true")).returncode == 0
    assert (await honest.node.renew(honest.name, honest.slice_id, 1, None)).generation == 2
    await gone.node.delete(gone.name, gone.slice_id, gone.promise.jti, None)
    names = {honest.name, greedy.name}
    await until(lambda: _is_async(lambda: _names(honest.node), names))
    await until(lambda: _is(lambda: _folders(place.seen) == names))
    await place.full()


async def the_one_that_took_it_is_stopped(
    place: Place, address: str, greedy: Slice, honest: Slice, late: Slice
) -> None:
    """The node starts, says what is wrong, and takes nothing new."""
    said = await health(place.session, address)
    assert (said["status"], said["why"].keys(), said["disk_free_mb"]) == ("not-ready", {"disk"}, 0)
    with pytest.raises(Refusal) as caught:
        await late.run()
    assert (caught.value.code, "disk" in caught.value.reason) == (Code.OVER_CAPACITY, True)
    await until(lambda: _is_async(greedy.state, "leased"))
    assert await honest.state() == "running"
    assert (await honest.ssh(place.folder, 1, "true")).returncode == 255
    await until(lambda: _is_async(lambda: _advertised(place.agent), (0, 0)))


async def it_runs_again(place: Place, address: str, greedy: Slice, late: Slice) -> None:
    """Its owner has it run, deletes what it does not need, and the node takes others again."""
    await greedy.node.create(greedy.name, greedy.lease, *KEY_PAIR, None)
    assert (await greedy.ssh(place.folder, 0, "rm ~/big")).returncode == 0
    await until(lambda: _is_async(lambda: _status(place.session, address), "ok"))
    await late.run()


async def _is(condition: Callable[[], bool]) -> bool:
    return condition()


async def _is_async(get: Callable[[], Awaitable[Any]], wanted: Any) -> bool:
    return bool(await get() == wanted)


async def _names(node: NodeClient) -> set[str]:
    return {sliver.slice for sliver in await node.inventory()}


async def _status(session: Session, address: str) -> Any:
    return (await health(session, address))["status"]


async def _advertised(agent: AgentClient) -> tuple[int, int | None]:
    found = await agent.ads()
    assert isinstance(found, AdList)
    (ad,) = found.ads
    return ad.slots_free, ad.disk_free_mb


def _folders(seen: Path) -> set[str]:
    return {path.name for path in (seen / "node/slivers").iterdir() if not path.name.startswith(".")}
