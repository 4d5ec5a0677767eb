"""The process of simulated nodes: enrols each, serves all in one loop, and takes faults from the control socket."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial

from prometheus_client import REGISTRY

from nodemgr.advertise import Advertiser
from nodemgr.agents import Agents
from nodemgr.api import create_app
from nodemgr.expiry import recover
from nodemgr.metrics import NodeCollector
from nodemgr.orders import Heed
from nodemgr.periodic import look_after
from nodemgr.settings import SimulationSettings
from nodemgr.stops import heed_stops
from nodemgr.usage import tell_usage
from plc.client import Directory, DirectoryCache, Keeper, Member
from plc.client.orders import Orders
from plc.client.usage import Used
from rpc import daemon, metrics, tls
from rpc.aio import Session
from rpc.background import Tasks
from rpc.sockets import raise_descriptor_limit
from testbed.simulation.control import serve_control
from testbed.simulation.population import MODEL, Population, Row, SimulatedNode, read_rows
from trust.clock import Clock, system_clock
from trust.errors import Code, Refusal
from trust.identity import Role

ENROLLING = 8  # side by side: plc answers each in a thread of its own
ADVERTISED_WITHIN = 60  # seconds that "ready" waits for the first advertisement of every node
DIRECTORY_SECONDS = 5
# To an agent, which lets 250 in at once from one address that it does not know yet (rpc/acceptor.py) and cuts the
# oldest of more: of 5,000 nodes at once most would shake hands for nothing, again and again.
INTRODUCED_AT_ONCE = 8


def main() -> None:
    """Serve until SIGTERM; prints `ready ADDRESS` (of the first node) once all answer and have advertised."""
    daemon.start("simnodes", SimulationSettings, run)


def run(settings: SimulationSettings) -> None:
    """The same, with these settings."""
    raise_descriptor_limit()
    rows = read_rows(settings.simulated_nodes)
    members = enrol(settings, rows, system_clock())
    trust = members[0].store
    app = create_app(trust)
    (settings.state_dir / MODEL).touch()
    population = Population(
        [
            SimulatedNode.build(settings, row, member.credentials, trust, app)
            for row, member in zip(rows, members, strict=True)
        ]
    )
    if settings.metrics_listen:
        metrics.serve_beside(settings.metrics_listen, settings.metrics_token)
        REGISTRY.register(NodeCollector([found.node for found in population.nodes]))
    keeper = Keeper(members)
    keeper.start()
    try:
        asyncio.run(serve(settings, population, members))
    finally:
        keeper.stop()
        population.close()


def enrol(settings: SimulationSettings, rows: Sequence[Row], clock: Clock) -> list[Member]:
    """The members, in the order of the rows; they share one view of plc's revocations."""

    def join(row: Row, first: Member | None) -> Member:
        return Member.join(
            directory=settings.state_dir / row.name,
            plc_url=settings.plc_url,
            role=Role.NODE,
            name=row.name,
            addresses=[row.address],
            token=row.token,
            clock=clock,
            store=first.store if first else None,
        )

    first = join(rows[0], None)
    with ThreadPoolExecutor(ENROLLING) as pool:
        return [first, *pool.map(lambda row: join(row, first), rows[1:])]


async def serve(settings: SimulationSettings, population: Population, members: Sequence[Member]) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    rounds = Tasks()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(rounds.stop)
        directory = DirectoryCache(members[0].plc.directory, DIRECTORY_SECONDS)
        advertisers, turns = [], asyncio.Semaphore(INTRODUCED_AT_ONCE)
        for found, member in zip(population.nodes, members, strict=True):
            advertisers.append(await _open(found, member, directory, rounds, stack, settings, turns))
        nodes = [found.node for found in population.nodes]
        rounds.begin(heed_stops(members[0].plc.stops, nodes, settings.stops_seconds))
        # Each says for itself what it has done, over a connection that it opens then.
        heeding = [(node, partial(_say_done, member)) for node, member in zip(nodes, members, strict=True)]
        rounds.begin(Heed(partial(_orders, members), heeding).run(settings.stops_seconds))
        for node, member in zip(nodes, members, strict=True):
            rounds.begin(tell_usage(node, partial(_tell, member), settings.usage_seconds))
        if settings.control_socket:
            control = await serve_control(settings.control_socket, population.misbehave)
            stack.callback(control.close)
        first = population.nodes[0].doorway
        rounds.begin(_ready(first.host, first.port, advertisers))
        await stop.wait()


def _orders(members: Sequence[Member], tag: str | None) -> Orders | None:
    """What the operator wants of all these, asked for by the first that is not retired."""
    for member in members:
        try:
            return member.plc.orders(tag, everyones=True)
        except Refusal as refusal:
            if refusal.code is not Code.REVOKED or member is members[-1]:
                raise
    return None


def _tell(member: Member, intervals: Sequence[Used]) -> None:
    """Over a connection of its own: thousands of nodes would keep as many."""
    member.plc.tell_usage(intervals)
    member.plc.close()


def _say_done(member: Member, orders: Sequence[str]) -> None:
    member.plc.say_done(orders)


async def _open(
    found: SimulatedNode,
    member: Member,
    directory: Callable[[], Directory],
    rounds: Tasks,
    stack: AsyncExitStack,
    settings: SimulationSettings,
    turns: asyncio.Semaphore,
) -> Advertiser:
    session = await stack.enter_async_context(Session(member.credentials))
    member.on_renew(lambda: tls.reload(found.doorway.context, member.credentials))
    member.on_renew(session.reload)
    await recover(found.node)
    await found.doorway.open()
    stack.push_async_callback(found.doorway.close)
    return look_after(rounds, found.node, found.place, Agents(session, settings.agent_urls, directory), settings, turns)


async def _ready(host: str, port: int, advertisers: Sequence[Advertiser]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(ADVERTISED_WITHIN):
            for advertiser in advertisers:
                await advertiser.told.wait()
    daemon.ready(host, port)
