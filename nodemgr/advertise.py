"""Telling the agents what this node has: every 20 s, and at once when it changes."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from agent.client import AD_LIFETIME, Ad, AgentClient, FrontDoor, Returned
from nodemgr.node import Node
from nodemgr.storage.store import Burnt
from rpc.background import surviving, within
from trust.errors import Refusal
from trust.identity import Identity

SETTLE = 0.05  # seconds: what changes together (a lease, then its sliver) is told once
MAX_BURNT = 5_000
DEADLINE = 15  # seconds for one call; well below an advertisement's life

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a node is: what it advertises beside its capacity."""

    address: str
    api: str
    site: str
    frontdoor: FrontDoor

    @classmethod
    def of(cls, address: str, port: int, site: str, frontdoor: FrontDoor) -> Self:
        """With the node manager at `port` of the node's address."""
        host = f"[{address}]" if ":" in address else address
        return cls(address, f"https://{host}:{port}", site, frontdoor)


def advertisement(node: Node, place: Location) -> Ad:
    """What the node has now."""
    taken = node.store.taken()
    return Ad(
        node=node.identity.name,
        address=place.address,
        api=place.api,
        site=place.site,
        slots_free=0 if node.disk_full else node.capacity.free(taken),
        slots=node.capacity.places,
        memory_free_mb=node.capacity.memory_free_mb(taken),
        max_leaselen=node.capacity.longest,
        frontdoor=place.frontdoor,
        simulated=node.driver.simulated,
        expires_at=node.now() + timedelta(seconds=AD_LIFETIME),
        disk_free_mb=_disk_free_mb(node),
    )


def _disk_free_mb(node: Node) -> int | None:
    """About what is free, so that the advertisement does not change with every file; 0 where it counts as full."""
    if node.disk_full:
        return 0
    if node.disk is None:
        return None
    free = node.disk.free_mb
    step = 1 << max(free.bit_length() - 2, 0)
    return free // step * step


@dataclass(slots=True)
class Advertiser:
    """Keeps one node's advertisement at all its agents.

    Args:
        agents: clients by identity; one that does not answer delays none of the others.
        seconds: between two advertisements when nothing changes.
        told: set once an agent has taken an advertisement.
    """

    node: Node
    place: Location
    agents: Mapping[Identity, AgentClient]
    seconds: float = 20
    told: asyncio.Event = field(default_factory=asyncio.Event)
    _changes: asyncio.Event = field(default_factory=asyncio.Event)
    _failing: set[Identity] = field(default_factory=set)

    def changed(self) -> None:
        """Advertise soon; from the loop's own thread."""
        self._changes.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._changes.clear()
            with surviving("%s cannot advertise; trying again", self.node.identity.name):
                await self.tell()
            await within(self.seconds, self._changes)
            await asyncio.sleep(SETTLE)

    async def tell(self) -> None:
        """Advertise once, to all agents side by side."""
        await asyncio.gather(*(self._tell(agent, client) for agent, client in self.agents.items()))

    async def _tell(self, agent: Identity, client: AgentClient) -> None:
        # Read together, without a wait in between: the slots that are free and the tickets that took the others.
        ad = advertisement(self.node, self.place)
        burnt = self._burnt(agent)
        try:
            async with asyncio.timeout(DEADLINE):
                returned = await client.advertise(ad, burnt)
            self._burn(agent, returned)
        except (Refusal, TimeoutError) as error:
            if agent not in self._failing:
                log.warning("%s cannot advertise to %s: %s", self.node.identity.name, agent.name, error)
            self._failing.add(agent)
        except Exception:
            log.exception("%s cannot advertise to %s", self.node.identity.name, agent.name)
        else:
            self._failing.discard(agent)
            self.told.set()

    def _burn(self, agent: Identity, returned: Sequence[Returned]) -> None:
        """Take none of these any more, and say so at once: until then the agent counts their places as taken."""
        store = self.node.store
        new = [ticket for ticket in returned if store.burnt(ticket.jti, ticket.owner) is None]
        if not new:
            return
        with store.transaction():
            for ticket in new:
                store.burn(Burnt(ticket.jti, ticket.owner, agent, ticket.slice_id, ticket.expires_at))
        self.changed()

    def _burnt(self, agent: Identity) -> Sequence[str]:
        return self.node.store.recently_burnt(agent, self.node.now(), MAX_BURNT)
