"""CPU that a createslice takes at the nodes and at the agent, beside what an advertisement at rest takes = 1.0.

Tickets are asked for, redeemed and made VMs of on each simulated node of one testbed by bare asyncio. Counted are the
process of all nodes and the agent's, until the last change is told, without what they take at rest.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from agent.client import AgentClient, Promise, Tickets
from bench.engine import testbed
from nodemgr.client import NodeClient
from plc.client import Plc
from rpc.aio import Session
from rpc.credentials import Credentials
from testbed import control
from testbed.home import PI, Home
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

NODES, IN_FLIGHT, ROUNDS = 100, 50, 3
REST = 10  # seconds between two advertisements of each node of a testbed
TOLD = 3  # seconds within which the last change is told
TICK = 1_000 / os.sysconf("SC_CLK_TCK")  # milliseconds
PARTS = ("nodemgr", "agent")  # roles; one process simulates all nodes

Done = TypeVar("Done")


def main() -> None:
    nodes = ("--nodes", "0", "--simulated", str(NODES))
    with tempfile.TemporaryDirectory() as folder, testbed(Home(Path(folder)), *nodes) as variables:
        rows = asyncio.run(rounds(Home(Path(folder)), variables))
    print(f"  {NODES} simulated nodes, {IN_FLIGHT} in flight, CPU in ms a node, median of {ROUNDS}")
    for part in PARTS:
        rest, made = (statistics.median(row[part][what] for row in rows) for what in (0, 1))
        print(f"  {part:9} an advertisement {rest:5.1f}   1.0")
        print(f"  {part:9} a createslice    {made:5.1f}   {made / rest:.2f} times as much")


async def rounds(home: Home, variables: Mapping[str, str]) -> list[dict[str, tuple[float, float]]]:
    """Of each round, by part: milliseconds a node at rest in `REST` seconds, and for its sliver."""
    credentials = Credentials(home.user(PI))
    plc = Plc(variables["DSLICE_PLC_URL"], credentials)
    entry = plc.directory().agents[0]
    plc.close()
    pids = {part: _pid(home, part) for part in PARTS}
    found = []
    async with Session(credentials) as session:
        agent = AgentClient(session, entry.url, entry.identity)
        for number in range(ROUNDS):
            name = f"round{number}"
            rest, idle, _ = await measured(pids, lambda: asyncio.sleep(REST))
            spent, took, tickets = await measured(pids, lambda name=name: made(session, agent, name))  # type: ignore[misc]
            found.append({part: (rest[part], spent[part] - rest[part] * took / idle) for part in PARTS})
            every = [_node(session, promise).delete(name, tickets.slice_id, None, None) for promise in tickets.promises]
            await asyncio.gather(*every)
            await asyncio.sleep(TOLD)
    return found


async def measured(
    pids: Mapping[str, int], work: Callable[[], Awaitable[Done]]
) -> tuple[dict[str, float], float, Done]:
    """CPU milliseconds a node by part, seconds, and what came of it."""
    before, began = {part: _cpu(pid) for part, pid in pids.items()}, time.perf_counter()
    done = await work()
    took = time.perf_counter() - began
    return {part: (_cpu(pid) - before[part]) / NODES for part, pid in pids.items()}, took, done


async def made(session: Session, agent: AgentClient, name: str) -> Tickets:
    """A VM on every node, told to the agent."""
    tickets = await agent.tickets(
        slice=name, numnodes=NODES, leaselen=3600, delegation=None, idempotency_key=str(uuid4())
    )
    pair, window = new_ssh_key_pair(name), asyncio.Semaphore(IN_FLIGHT)

    async def make(promise: Promise) -> None:
        async with window:
            node = _node(session, promise)
            lease = await node.redeem(promise.token, None)
            await node.create(name, lease.token, *pair, None)

    await asyncio.gather(*(make(promise) for promise in tickets.promises))
    await asyncio.sleep(TOLD)
    return tickets


def _node(session: Session, promise: Promise) -> NodeClient:
    return NodeClient(session, promise.api, Identity(Role.NODE, promise.node))


def _pid(home: Home, part: str) -> int:
    rows = control.ask(home, "ps")["processes"]
    return int(next(row["pid"] for row in rows if row["role"] == part))


def _cpu(pid: int) -> float:
    """User and system time so far, in milliseconds (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK
