"""`dslice run nodemgr`: one node manager in the foreground."""

import asyncio
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agent.client import FrontDoor
from nodemgr.admission import Capacity, share_of_disk
from nodemgr.advertise import Location
from nodemgr.agents import Agents
from nodemgr.api import at, create_app, looks_of
from nodemgr.expiry import recover
from nodemgr.frontdoor import FrontDoorServer
from nodemgr.frontdoor.forward import Here
from nodemgr.images import Images
from nodemgr.metrics import NodeCollector
from nodemgr.node import Node
from nodemgr.orders import Heed
from nodemgr.periodic import look_after
from nodemgr.reclaim import listening
from nodemgr.settings import Settings
from nodemgr.slivers.drivers.choice import open_driver, take_ids
from nodemgr.slivers.drivers.driver import Driver, Likeness
from nodemgr.slivers.drivers.simulated import SimulatedDriver, simulated_host_key
from nodemgr.stops import heed_stops
from nodemgr.storage.disk import Disk
from nodemgr.storage.store import Store
from nodemgr.usage import tell_usage
from plc.client import Member
from plc.client.service import joined
from rpc import daemon, metrics
from rpc.aio import Session
from rpc.background import Tasks, within
from rpc.health import Health
from rpc.server import Listener, serve
from trust.identity import Role

ADVERTISED_WITHIN = 5  # seconds that "ready" waits for the first advertisement


def main() -> None:
    """Serve until SIGTERM; slivers go on running. Prints `ready ADDRESS` once it answers and has advertised."""
    daemon.start("nodemgr", Settings, run)


def run(settings: Settings) -> None:
    """The same, with these settings."""
    # Slivers' folders and sessions get the usual modes, whatever the shell that started this had; secrets name theirs.
    os.umask(0o022)
    take_ids(settings.sliver_driver, _slivers(settings))
    with (
        joined(settings, Role.NODE, settings.name, [settings.node_address]) as member,
        closing(Store(settings.state_dir / "node.db", member.identity, settings.disk_reserve_mb << 20)) as store,
    ):
        disk, driver = Disk(settings.state_dir, settings.disk_floor_mb, settings.disk_overcommit), _driver(settings)
        node = Node(
            identity=member.identity,
            credentials=member.credentials,
            trust=member.store,
            store=store,
            driver=driver,
            capacity=_capacity(settings, driver, disk),
            agents=frozenset(settings.agent_urls),
            grace=settings.grace,
            disk=disk,
            images=Images(settings.images_folder),
        )
        asyncio.run(_run(settings, member, node))


def _slivers(settings: Settings) -> Path:
    return settings.state_dir / "slivers"


def _driver(settings: Settings) -> Driver:
    folder = _slivers(settings)
    if settings.sliver_driver == "simulated":
        return SimulatedDriver(folder)
    return open_driver(settings.sliver_driver, folder, settings.terms)


def _capacity(settings: Settings, driver: Driver, disk: Disk) -> Capacity:
    """As it is set; a disk for each sliver where they can have one."""
    capacity, own = settings.capacity, 0
    if driver.quota == "hard":
        # What they have taken already is theirs, so that a share stays what it was.
        share = share_of_disk(disk.room_mb + driver.taken_mb, capacity.places + settings.ready_slivers)
        own = share if settings.sliver_disk_mb is None else settings.sliver_disk_mb
    return replace(capacity, disk_mb=settings.disk_mb or disk.size_mb, sliver_disk_mb=own)


async def _run(settings: Settings, member: Member, node: Node) -> None:
    # Before anybody is let in, store and driver agree again.
    await recover(node)
    host, port = settings.frontdoor_place
    if node.driver.simulated:
        line = simulated_host_key(member.identity, member.credentials.root_pem)
        await _serve(settings, member, node, FrontDoor(host, port, line))
        return
    key, clock = settings.state_dir / "ssh_host_key", node.trust.clock
    here = Here(node.identity.name, settings.node_address)
    taken = settings.accept_env.replace(",", " ").split()
    server = FrontDoorServer(node.driver, node, key, host, port, clock, accept_env=taken, here=here)
    node.sessions = server
    _, port = await listening(node, [(host, port)], lambda: asyncio.to_thread(server.start))
    try:
        await _serve(settings, member, node, FrontDoor(settings.node_address, port, server.host_key_line))
    finally:
        await asyncio.to_thread(server.stop)


async def _serve(settings: Settings, member: Member, node: Node, door: FrontDoor) -> None:
    app = at(create_app(member.store), node, door)
    listener = Listener(app, *settings.api_place, member.server_context(), settings.name)
    listeners = [listener, *metrics.listeners(settings, Health(**looks_of(node)), NodeCollector([node]))]
    async with Session(member.credentials) as session:
        member.on_renew(session.reload)
        agents = Agents(session, settings.agent_urls, member.plc.directory)
        rounds = Tasks()

        def ready(addresses: list[tuple[str, int]]) -> None:
            place = Location.of(settings.node_address, addresses[0][1], settings.node_site, door)
            advertiser = look_after(rounds, node, place, agents, settings)
            rounds.begin(heed_stops(member.plc.stops, [node], settings.stops_seconds))
            rounds.begin(Heed(member.plc.orders, [(node, member.plc.say_done)]).run(settings.stops_seconds))
            rounds.begin(tell_usage(node, member.plc.tell_usage, settings.usage_seconds))
            rounds.begin(_keep_ready(node, settings.ready_slivers))
            rounds.begin(_ready(*addresses[0], advertiser.told))

        try:
            places = [(each.host, each.port) for each in listeners]
            await listening(node, places, lambda: serve(listeners, ready=ready))
        finally:
            await rounds.stop()


async def _keep_ready(node: Node, number: int) -> None:
    """Have slivers prepared, for as long as there is room for them."""
    capacity = node.capacity
    like = Likeness(node.identity.name, capacity.sliver_mb, capacity.processes, capacity.sliver_disk_mb or None)
    await node.driver.keep_ready(min(number, node.capacity.slots), like, lambda: not node.disk_full)


async def _ready(host: str, port: int, advertised: asyncio.Event) -> None:
    """Users count a node once an agent has it; but a node answers without one, too."""
    await within(ADVERTISED_WITHIN, advertised)
    daemon.ready(host, port)


if __name__ == "__main__":
    main()
