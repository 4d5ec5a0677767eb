"""CPU of one node manager for a ticket and a VM, beside two calls that do nothing on the same server = 1.0.

Its store, its signatures and mutual TLS are real, the driver is the simulated one; nobody is advertised to. The calls
are a service manager's, each slice with its delegation, on connections that stand already. Then redemptions come at a
steady pace, and their answers' times are taken.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from agent.client import FrontDoor
from bench.tools.tables import Table
from nodemgr.admission import Capacity
from nodemgr.api import at, create_app
from nodemgr.client import NodeClient
from nodemgr.node import Node
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from nodemgr.storage.store import Store
from rpc import tls
from rpc.aio import Session
from rpc.credentials import Credentials
from rpc.server import Listener, run
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.documents import Delegation, DelegationKind, Ticket, sign_delegation, sign_ticket
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair
from trust.store import TrustStore

HOST = "127.0.0.1"
NODES, SLIVERS, IN_FLIGHT, ROUNDS = 16, 320, 16, 3
PACE, SECONDS = 200, 10  # redemptions a second, and for how long
TICK = 1_000 / os.sysconf("SC_CLK_TCK")  # milliseconds
CAPACITY = Capacity(slots=100_000, memory_mb=10_000_000, sliver_mb=100, processes=10)
USER, AGENT, NODE, SVM = (
    Identity.user("bench@example.org"),
    *(Identity(r, "x") for r in (Role.AGENT, Role.NODE, Role.SVM)),
)

Call = Callable[["Order"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Order:
    """One slice to be made: its ticket, and the owner's delegation."""

    slice: str
    ticket: str
    delegation: str


def main() -> Sequence[Table]:
    with tempfile.TemporaryDirectory() as folder:
        office = Office(Path(folder))
        with serving(office) as (nodes, bare, pid):
            return asyncio.run(measured(office, nodes, bare, pid))


class Office:
    """A CA, and everybody's certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder, Authority.create(datetime.now(UTC))
        self.credentials = {who: self._issued(who) for who in (USER, AGENT, NODE, SVM)}
        self.keys = {who: (found.key, found.certificate) for who, found in self.credentials.items()}

    def orders(self, count: int) -> list[Order]:
        return [self._order(f"s{uuid4().hex[:20]}") for _ in range(count)]

    def _issued(self, who: Identity) -> Credentials:
        key, addresses = new_private_key(who.role), () if who.role is Role.USER else (HOST,)
        made = self.authority.issue(
            who, key.public_key(), now=datetime.now(UTC), lifetime=86_400, addresses=addresses, pi=who is USER
        )
        found = Credentials(self.folder / who.role)
        root = certificate_to_pem(self.authority.certificate)
        found.save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(made), ca_pem=root)
        return found

    def _order(self, slice: str) -> Order:
        now, slice_id = datetime.now(UTC).replace(microsecond=0), UUID(int=uuid4().int)
        end = now + timedelta(seconds=3_000)
        ticket = Ticket(AGENT, NODE, USER, slice, slice_id, str(uuid4()), 3_600, now, end)
        delegation = Delegation(USER, SVM, slice, DelegationKind.WORKING, str(uuid4()), now, end)
        return Order(slice, sign_ticket(ticket, *self.keys[AGENT]), sign_delegation(delegation, *self.keys[USER]))


@contextmanager
def serving(office: Office) -> Iterator[tuple[list[str], str, int]]:
    """A process with node managers and with a server that does nothing; their URLs, and its id."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    now = datetime.now(UTC)
    crl = office.authority.sign_crl([], number=1, now=now)
    process = context.Process(target=serve, args=(office.folder, crl, theirs))
    process.start()
    try:
        ports = ours.recv()
        assert process.pid is not None  # it was started
        *nodes, bare = [f"https://{HOST}:{port}" for port in ports]
        yield nodes, bare, process.pid
    finally:
        process.terminate()
        process.join()


def serve(folder: Path, crl: bytes, tell: Connection) -> None:
    """In the process of its own."""
    credentials = Credentials(folder / Role.NODE)
    trust = TrustStore(credentials.root, SystemClock())
    trust.update(crl)
    context, app, door = tls.server_context(credentials), create_app(trust), FrontDoor(HOST, 22, "")
    nodes = [at(app, made_node(folder / f"node{number}", credentials, trust), door) for number in range(NODES)]
    listeners = [Listener(each, HOST, 0, context) for each in (*nodes, _bare)]
    run(listeners, ready=lambda addresses: tell.send([port for _, port in addresses]))


def made_node(folder: Path, credentials: Credentials, trust: TrustStore) -> Node:
    """All have one name, and each its own store."""
    folder.mkdir()
    return Node(
        identity=NODE,
        credentials=credentials,
        trust=trust,
        store=Store(folder / "node.db", NODE),
        driver=SimulatedDriver(folder / "slivers"),
        capacity=CAPACITY,
        agents=frozenset([AGENT]),
        grace=60,
    )


async def _bare(scope: Any, receive: Any, send: Any) -> None:
    """Answers as fast as the server can."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def measured(office: Office, nodes: list[str], bare: str, pid: int) -> Sequence[Table]:
    pair = new_ssh_key_pair("bench")
    async with Session(office.credentials[SVM], limit_per_host=IN_FLIGHT) as session:
        clients = cycle([NodeClient(session, node, NODE) for node in nodes])
        one = next(clients)

        async def redeemed(order: Order) -> None:
            await one.redeem(order.ticket, order.delegation)

        async def made(order: Order) -> None:
            client = next(clients)
            lease = await client.redeem(order.ticket, order.delegation)
            await client.create(order.slice, lease.token, *pair, order.delegation)

        async def nothing(order: Order) -> None:
            for _ in range(2):
                headers = {"Dslice-Delegation": order.delegation}
                await session.call("POST", bare, expect=NODE, json={"ticket": order.ticket}, headers=headers)

        for call in (nothing, redeemed, made):  # connections stand from now on
            await crowd(call, office.orders(4 * IN_FLIGHT), pid)
        rows = []
        for _ in range(ROUNDS):  # in turns, so that other load on the machine hits both
            orders = office.orders(SLIVERS)
            rows.append((await crowd(nothing, orders, pid), await crowd(made, orders, pid)))
        times = await paced(redeemed, office.orders(PACE * SECONDS))
    base, found = (statistics.median(column) for column in zip(*rows, strict=True))
    p50, p99 = times[len(times) // 2] * 1_000, times[len(times) * 99 // 100] * 1_000
    title = f"Node managers, {IN_FLIGHT} calls in flight, CPU ms a sliver, median of {ROUNDS}"
    paces = f"One node, {PACE} redemptions/s for {SECONDS} s, ms"
    made_rows = [("two calls that do nothing", base, 1.0), ("a ticket and a VM", found, found / base)]
    return [
        Table("node", title, ("", "CPU ms", "ratio"), made_rows),
        Table("node", paces, ("", "median", "p99"), [("answered", p50, p99)]),
    ]


async def crowd(call: Call, orders: list[Order], pid: int) -> float:
    """CPU milliseconds of the process for each order."""
    window, before = asyncio.Semaphore(IN_FLIGHT), _cpu(pid)

    async def one(order: Order) -> None:
        async with window:
            await call(order)

    await asyncio.gather(*map(one, orders))
    return (_cpu(pid) - before) / len(orders)


async def paced(call: Call, orders: list[Order]) -> list[float]:
    """Seconds that each took, the shortest first; one begins every 1 / PACE seconds, whatever became of the others."""
    took, begin = [], time.perf_counter()

    async def one(order: Order, moment: float) -> None:
        await asyncio.sleep(max(0, moment - time.perf_counter()))
        await call(order)
        took.append(time.perf_counter() - moment)

    await asyncio.gather(*(one(order, begin + number / PACE) for number, order in enumerate(orders)))
    return sorted(took)


def _cpu(pid: int) -> float:
    """User and system time so far, in milliseconds (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK
