"""What a node does again and again beside answering, as tasks of its loop."""

import asyncio
from collections.abc import Callable, Sequence

from nodemgr.advertise import Advertiser, Place
from nodemgr.agents import Agents
from nodemgr.expiry import Expiry, stop_owners
from nodemgr.neighbours import Neighbours
from nodemgr.node import Node
from nodemgr.settings import CommonSettings
from plc.client import StopList
from rpc.background import Tasks, surviving


def look_after(rounds: Tasks, node: Node, place: Place, agents: Agents, settings: CommonSettings) -> Advertiser:
    """Expiry, advertisements and, on a node that people log in to, the list of its neighbours."""
    advertiser = Advertiser(node, place, agents.clients, settings.advertise_seconds)
    neighbours = Neighbours(node, agents.clients, settings.neighbours_seconds)

    def found() -> None:
        advertiser.changed()
        neighbours.wanted()

    agents.found = found
    node.changed = advertiser.changed
    rounds.begin(agents.run())
    rounds.begin(advertiser.run())
    rounds.begin(Expiry(node, settings.expiry_seconds).run())
    if not node.driver.simulated:
        node.populated = neighbours.wanted
        rounds.begin(neighbours.run())
    return advertiser


async def heed_stops(stops: Callable[[], StopList], nodes: Sequence[Node], seconds: float) -> None:
    """Stop the slivers of whom plc has stopped; while plc does not answer, what it said last counts."""
    while True:
        with surviving("cannot heed plc's stops; trying again"):
            owners = (await asyncio.to_thread(stops)).owners
            for node in nodes:
                await stop_owners(node, owners)
        await asyncio.sleep(seconds)
