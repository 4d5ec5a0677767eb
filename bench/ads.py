"""CPU and memory that an agent takes for nodes at rest: by tags, beside all of an advertisement each time = 1.0.

The agent is a testbed's; the nodes are connections of one process, each with a certificate of its own, that do nothing
but advertise, in turns all of it and by tag. At rest each does so every 20 s.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import uvloop

from agent.client import Ad, AgentClient, FrontDoor
from bench.tools.processes import cpu, memory, parts
from bench.tools.stage import Stage, testbed
from bench.tools.tables import Table
from plc.authority import load_authority
from rpc.aio import Session
from rpc.credentials import Credentials
from rpc.sockets import raise_descriptor_limit
from testbed.home import Home
from trust.certificates import certificate_to_pem, key_to_pem, new_private_key
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

NODES, ROUNDS = 1_000, 5
RHYTHM = 20  # seconds between two advertisements of a node at rest
IN_FLIGHT = 128
SPREAD = 5  # seconds that each round takes at least: nodes at rest do not speak all at once


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


def main() -> Sequence[Table]:
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as folder, testbed(folder, "--nodes", "0") as stage:
        return uvloop.run(measure(stage))


async def measure(stage: Stage) -> Sequence[Table]:
    """What all of it costs, and what a tag."""
    agent = {"agent": parts(stage.home)["agent"]}
    empty, whole, tag = memory(agent)["agent"], list[float](), list[float]()
    async with AsyncExitStack() as stack:
        talkers = []
        for credentials, ad in nodes(stage.home):
            session = await stack.enter_async_context(Session(credentials))
            talkers.append(Talker(AgentClient(session, stage.agent.url, stage.agent.identity), ad))
        await spread(talkers, Talker.says)  # with the handshakes
        for _ in range(ROUNDS):
            for found, how in ((whole, Talker.says), (tag, Talker.repeats)):
                before = cpu(agent)["agent"]
                await spread(talkers, how)
                found.append((cpu(agent)["agent"] - before) / NODES)
        full = memory(agent)["agent"]
    base = statistics.median(whole)
    costs = [("all of it", base), ("its tag", statistics.median(tag))]
    rows = [(name, cost, cost / base, cost * NODES / RHYTHM / 10) for name, cost in costs]
    kept = f"{empty:.0f} MB alone, {full:.0f} MB with {NODES} nodes"
    title = f"An agent's CPU for an advertisement, and at rest, each node every {RHYTHM} s, median of {ROUNDS}; {kept}"
    return [Table("ads", title, ("said", "ms", "ratio", "% of a core"), rows)]


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
