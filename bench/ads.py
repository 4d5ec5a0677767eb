"""CPU and memory that an agent takes for nodes at rest: by tags, beside all of an advertisement each time = 1.0.

The agent is a testbed's; the nodes are connections of one process, each with a certificate of its own, that do nothing
but advertise, in turns all of it and by tag. At rest each does so every 20 s.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from agent.client import Ad, AgentClient, FrontDoor
from bench.engine import testbed
from plc.ca import load_authority
from plc.client import Plc
from rpc.aio import Session
from rpc.credentials import Credentials
from rpc.sockets import raise_descriptor_limit
from testbed import control
from testbed.home import PI, Home
from trust.certificates import certificate_to_pem, key_to_pem, new_private_key
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

NODES, ROUNDS = 1_000, 5
RHYTHM = 20  # seconds between two advertisements of a node at rest
IN_FLIGHT = 128
SPREAD = 5  # seconds that each round takes at least: nodes at rest do not speak all at once
TICK = 1_000 / os.sysconf("SC_CLK_TCK")  # milliseconds


@dataclass
class Talker:
    """One node: its advertisement, and the tag that it was answered with."""

    client: AgentClient
    ad: Ad
    tag: str = ""

    async def says(self) -> None:
        self.tag = (await self.client.advertise(self.ad)).tag or ""

    async def repeats(self) -> None:
        await self.client.repeat(self.ad.node, self.tag)


def main() -> None:
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as folder, testbed(Home(Path(folder)), "--nodes", "0") as variables:
        uvloop.run(measure(Home(Path(folder)), variables))


async def measure(home: Home, variables: Mapping[str, str]) -> None:
    """Print what all of it costs, and what a tag."""
    plc = Plc(variables["DSLICE_PLC_URL"], Credentials(home.user(PI)))
    entry = plc.directory().agents[0]
    plc.close()
    pid = next(int(row["pid"]) for row in control.ask(home, "ps")["processes"] if row["role"] == "agent")
    empty, spent = memory(pid), ([], [])  # type: tuple[float, tuple[list[float], list[float]]]
    async with AsyncExitStack() as stack:
        talkers = []
        for credentials, ad in nodes(home):
            session = await stack.enter_async_context(Session(credentials))
            talkers.append(Talker(AgentClient(session, entry.url, entry.identity), ad))
        await spread(talkers, Talker.says)  # with the handshakes
        for _ in range(ROUNDS):
            for found, how in zip(spent, (Talker.says, Talker.repeats), strict=True):
                before = cpu(pid)
                await spread(talkers, how)
                found.append((cpu(pid) - before) / NODES)
        full, used = memory(pid), NODES / RHYTHM / 10
    whole, tag = (statistics.median(found) for found in spent)
    print(f"  {NODES} nodes, median of {ROUNDS}; at rest, of a core")
    print(f"  all of it {whole:5.2f} ms   1.0   {whole * used:5.1f} %")
    print(f"  its tag   {tag:5.2f} ms   {tag / whole:.2f}  {tag * used:5.1f} %")
    print(f"  memory    {empty:.0f} MB alone, {full:.0f} MB with them: {(full - empty) * 1024 / NODES:.0f} KB a node")


def nodes(home: Home) -> list[tuple[Credentials, Ad]]:
    """Each with a certificate of the testbed's own CA."""
    now, key = datetime.now(UTC), new_private_key(Role.NODE)
    authority = load_authority(home.service("plc"), now, first=False)
    root, (_, host_key), found = certificate_to_pem(authority.certificate), new_ssh_key_pair("node"), []
    for number in range(NODES):
        name, address = f"t{number}", f"127.9.{number // 250}.{number % 250 + 1}"
        certificate = authority.issue(
            Identity(Role.NODE, name), key.public_key(), now=now - timedelta(minutes=1), lifetime=86_400,
            addresses=[address], pi=False,
        )  # fmt: skip
        made = Credentials(home.service("talkers") / name)
        made.save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(certificate), ca_pem=root)
        door = FrontDoor(address, 22, host_key)
        found.append((made, Ad(name, address, f"https://{address}:1", "here", 4, 4, 64, 3_600, door, True, now)))
    return found


async def spread(talkers: Sequence[Talker], how: Callable[[Talker], Awaitable[None]]) -> None:
    """All of them, one after the other within `SPREAD` seconds."""
    began, window = time.perf_counter(), asyncio.Semaphore(IN_FLIGHT)

    async def speak(number: int, talker: Talker) -> None:
        await asyncio.sleep(max(0, began + SPREAD * number / len(talkers) - time.perf_counter()))
        async with window:
            await how(talker)

    await asyncio.gather(*(speak(number, talker) for number, talker in enumerate(talkers)))


def memory(pid: int) -> float:
    """Of its own, in MB (proc_pid_smaps(5))."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1024


def cpu(pid: int) -> float:
    """User and system time so far, in milliseconds (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK
