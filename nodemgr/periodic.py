"""What a node does again and again beside answering, as tasks of its loop."""

from contextlib import nullcontext

from nodemgr.advertise import Advertiser, Location, Turns
from nodemgr.agents import Agents
from nodemgr.expiry import Expiry
from nodemgr.liveness import Liveness
from nodemgr.neighbours import Neighbours
from nodemgr.node import Node
from nodemgr.settings import CommonSettings
from nodemgr.watch import Watch
from rpc.background import Tasks, repeat

MEMORY_SECONDS = 1


def look_after(
    rounds: Tasks, node: Node, place: Location, agents: Agents, settings: CommonSettings, turns: Turns | None = None
) -> Advertiser:
    """Expiry, advertisements and, on a node that people log in to, the list of its neighbours.

    `turns`: as `Advertiser` has them.
    """
    advertiser = Advertiser(node, place, agents.clients, settings.advertise_seconds, turns or nullcontext())
    neighbours = Neighbours(node, agents.clients, settings.neighbours_seconds)
    expiry = Expiry(node, settings.expiry_seconds)

    def changed() -> None:
        advertiser.changed()
        expiry.changed()

    def found() -> None:
        advertiser.changed()
        neighbours.wanted()

    agents.found = found
    node.changed = changed
    rounds.begin(agents.run())
    rounds.begin(advertiser.run())
    rounds.begin(expiry.run())
    rounds.begin(Liveness(node).run())
    if node.disk is not None:
        rounds.begin(Watch(node, node.disk, settings.disk_seconds).run())
    if not node.driver.simulated:
        node.populated = neighbours.wanted
        rounds.begin(neighbours.run())
        what = "%s cannot look at the memory of its slivers; trying again"
        rounds.begin(repeat(node.driver.bound_memory, MEMORY_SECONDS, what, node.identity.name))
    return advertiser
