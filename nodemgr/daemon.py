"""`dslice run nodemgr`: one node manager in the foreground."""

import asyncio
import os
import sys
from contextlib import suppress

from prometheus_client import REGISTRY

from agent.client import FrontDoor
from nodemgr.advertise import Location
from nodemgr.agents import Agents
from nodemgr.api import at, create_app
from nodemgr.expiry import recover
from nodemgr.frontdoor import FrontDoorServer
from nodemgr.metrics import NodeCollector
from nodemgr.node import Node
from nodemgr.periodic import look_after
from nodemgr.reclaim import listening
from nodemgr.settings import Settings
from nodemgr.slivers.drivers.choice import open_driver
from nodemgr.slivers.drivers.driver import Driver
from nodemgr.slivers.drivers.simulated import SimulatedDriver, simulated_host_key
from nodemgr.stops import heed_stops
from nodemgr.storage.disk import Disk
from nodemgr.storage.store import Store
from plc.client import Member
from rpc import logs, metrics, tls
from rpc.aio import Session
from rpc.background import Tasks
from rpc.server import Listener, serve
from trust.clock import system_clock
from trust.errors import Refusal
from trust.identity import Role

ADVERTISED_WITHIN = 5  # seconds that "ready" waits for the first advertisement


def main() -> None:
    """Run; a refusal at the start (a setting, a token, plc away) is said in one line."""
    try:
        run()
    except Refusal as refusal:
        sys.exit(f"nodemgr: {refusal.reason}")


def run() -> None:
    """Serve until SIGTERM; slivers go on running. Prints `ready ADDRESS` once it answers and has advertised."""
    # Slivers' folders and sessions get the usual modes, whatever the shell that started this had; secrets name theirs.
    os.umask(0o022)
    settings = Settings.load()
    logs.configure(settings.log_level, "nodemgr")
    member = Member.join(
        directory=settings.state_dir,
        plc_url=settings.plc_url,
        role=Role.NODE,
        name=settings.name,
        addresses=[settings.node_address],
        token=settings.token,
        clock=system_clock(),
    )
    store = Store(settings.state_dir / "node.db", member.identity, settings.disk_reserve_mb << 20)
    node = Node(
        identity=member.identity,
        credentials=member.credentials,
        trust=member.store,
        store=store,
        driver=_driver(settings),
        capacity=settings.capacity,
        agents=frozenset(settings.agent_urls),
        grace=settings.grace,
        disk=Disk(settings.state_dir, settings.disk_floor_mb),
    )
    member.start()
    try:
        asyncio.run(_run(settings, member, node))
    finally:
        member.stop()
        store.close()


def _driver(settings: Settings) -> Driver:
    folder = settings.state_dir / "slivers"
    if settings.sliver_driver == "simulated":
        return SimulatedDriver(folder)
    return open_driver(settings.sliver_driver, folder)


async def _run(settings: Settings, member: Member, node: Node) -> None:
    # Before anybody is let in, store and driver agree again.
    await recover(node)
    host, port = settings.frontdoor_place
    if node.driver.simulated:
        await _serve(settings, member, node, FrontDoor(host, port, simulated_host_key(settings.state_dir)))
        return
    server = FrontDoorServer(node.driver, node, settings.state_dir / "ssh_host_key", host, port, node.trust.clock)
    node.sessions = server
    _, port = await listening(node, [(host, port)], lambda: asyncio.to_thread(server.start))
    try:
        await _serve(settings, member, node, FrontDoor(settings.node_address, port, server.host_key_line))
    finally:
        await asyncio.to_thread(server.stop)


async def _serve(settings: Settings, member: Member, node: Node, door: FrontDoor) -> None:
    context = tls.server_context(member.credentials)
    host, port = settings.api_place
    listeners = [Listener(at(create_app(member.store), node, door), host, port, context, settings.name)]
    if settings.metrics_listen:
        listeners.append(metrics.listener(settings.metrics_listen, settings.metrics_token))
        REGISTRY.register(NodeCollector([node]))
    async with Session(member.credentials) as session:
        member.on_renew(lambda: tls.reload(context, member.credentials))
        member.on_renew(session.reload)
        agents = Agents(session, settings.agent_urls, member.plc.directory)
        rounds = Tasks()

        def ready(addresses: list[tuple[str, int]]) -> None:
            place = Location.of(settings.node_address, addresses[0][1], settings.node_site, door)
            advertiser = look_after(rounds, node, place, agents, settings)
            rounds.begin(heed_stops(member.plc.stops, [node], settings.stops_seconds))
            rounds.begin(_say_ready(*addresses[0], advertiser.told))

        try:
            places = [(listener.host, listener.port) for listener in listeners]
            await listening(node, places, lambda: serve(listeners, ready=ready))
        finally:
            await rounds.stop()


async def _say_ready(host: str, port: int, advertised: asyncio.Event) -> None:
    """Users count a node once an agent has it; but a node answers without one, too."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ADVERTISED_WITHIN):
            await advertised.wait()
    sys.stdout.write(f"ready {host}:{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
