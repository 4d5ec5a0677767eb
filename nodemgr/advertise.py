"""Telling the agents what this node has: when it changes, and every 20 s that it has not."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.metadata import version
from typing import Self

from agent.client import AD_LIFETIME, Ad, AgentClient, FrontDoor, Heard, Returned
from nodemgr.granting import room_of
from nodemgr.node import Node
from nodemgr.storage.store import Burnt
from rpc.background import surviving, within
from trust.errors import Code, Refusal
from trust.identity import Identity

SETTLE = 0.05  # seconds: what changes together (a lease, then its sliver) is told once
MAX_BURNT = 5_000
TOGETHER = 1  # second within which further places that are taken are told together
VERSION = version("dslice")
DEADLINE = 15  # seconds for one call; well below an advertisement's life

Turns = AbstractAsyncContextManager[None]

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
    capacity = node.capacity
    room = room_of(node)
    about = room if room.writable_mb is None else replace(room, writable_mb=_about(room.writable_mb))
    return Ad(
        node=node.identity.name,
        address=place.address,
        api=place.api,
        site=place.site,
        slots_free=0 if node.disk_full or node.orders.drained(node.now()) else room.slots_free,
        slots=capacity.places,
        memory_free_mb=capacity.memory_free_mb(room.promised),
        max_leaselen=capacity.longest,
        frontdoor=place.frontdoor,
        simulated=node.driver.simulated,
        expires_at=node.now() + timedelta(seconds=AD_LIFETIME),
        disk_free_mb=_disk_free_mb(node),
        slivers=node.store.taken(),
        version=VERSION,
        driver=node.driver.name,
        memory_mb=capacity.memory_mb,
        disk_mb=capacity.disk_mb,
        sliver_mb=capacity.sliver_mb,
        most_processes=capacity.most_processes,
        disk_unpromised_mb=0 if node.disk_full else about.disk_mb,
        images={name: image.digest for name, image in node.images.offered(node.driver).items()} or None,
        quota=node.driver.quota,
    )


def _disk_free_mb(node: Node) -> int | None:
    """About what is free, so that the advertisement does not change with every file; 0 where it counts as full."""
    if node.disk_full:
        return 0
    if node.disk is None:
        return None
    return _about(node.disk.free_mb)


def _about(free: int) -> int:
    step = 1 << max(free.bit_length() - 2, 0)
    return free // step * step


@dataclass(frozen=True, slots=True)
class Told:
    """What one agent has of a node.

    Args:
        client: through which it was told.
        at: when, by the loop's clock; of what it refused or did not answer, too.
        changed_at: when it was last told something new.
        tag: what to repeat it by.
    """

    client: AgentClient
    at: float
    changed_at: float
    ad: Ad | None = None
    burnt: frozenset[str] = frozenset()
    tag: str | None = None

    def has(self, ad: Ad, burnt: Sequence[str]) -> bool:
        """Whether this would be nothing new."""
        known = self.ad
        return known is not None and replace(ad, expires_at=known.expires_at) == known and self.burnt.issuperset(burnt)

    def due(self, ad: Ad, burnt: Sequence[str], seconds: float) -> float:
        """When it is to be told this.

        What frees a place is told at once, somebody may wait for it. One that is taken counts as promised until the
        agent has heard of its ticket, so that further ones within a second are told together.
        """
        if self.has(ad, burnt):
            return self.at + seconds
        if self.ad is not None and ad.slots_free < self.ad.slots_free:
            return self.changed_at + TOGETHER
        return self.at


@dataclass(slots=True)
class Advertiser:
    """Keeps one node's advertisement at all its agents.

    Args:
        agents: clients by identity; one that does not answer delays none of the others.
        seconds: between two advertisements when nothing changes.
        turns: shared by the nodes of one process: how many of them introduce themselves at once.
        told: set once an agent has taken an advertisement.
    """

    node: Node
    place: Location
    agents: Mapping[Identity, AgentClient]
    seconds: float = 20
    turns: Turns = field(default_factory=nullcontext)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    _changes: asyncio.Event = field(default_factory=asyncio.Event)
    _failing: set[Identity] = field(default_factory=set)
    _told: dict[Identity, Told] = field(default_factory=dict)

    def changed(self) -> None:
        """Advertise soon, if it is something that is advertised; from the loop's own thread."""
        self._changes.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._changes.clear()
            pause = self.seconds
            with surviving("%s cannot advertise; trying again", self.node.identity.name):
                pause = await self.tell()
            await within(pause, self._changes)
            await asyncio.sleep(SETTLE)

    async def tell(self) -> float:
        """Tell all agents, side by side, what each has to hear now; seconds until there is something to say again."""
        pauses = await asyncio.gather(*(self._tell(agent, client) for agent, client in self.agents.items()))
        return min(pauses, default=self.seconds)

    async def _tell(self, agent: Identity, client: AgentClient) -> float:
        now = asyncio.get_running_loop().time()
        # Read together, without a wait in between: the slots that are free and the tickets that took the others.
        ad = advertisement(self.node, self.place)
        burnt = self._burnt(agent)
        told = self._told.get(agent)
        if told is not None and told.client is not client:
            told = None  # the agent is elsewhere now
        if told is not None and (due := told.due(ad, burnt, self.seconds)) > now:
            return due - now
        said = None
        known = told is not None and told.ad is not None
        try:
            async with nullcontext() if known else self.turns, asyncio.timeout(DEADLINE):
                said = await self._say(client, ad, burnt, told)
            self._burn(agent, said.returned)
        except (Refusal, TimeoutError) as error:
            if agent not in self._failing:
                log.warning("%s cannot advertise to %s: %s", self.node.identity.name, agent.name, error)
            self._failing.add(agent)
        except Exception:
            log.exception("%s cannot advertise to %s", self.node.identity.name, agent.name)
        else:
            self._failing.discard(agent)
            self.told.set()
        if said is None:
            self._told[agent] = Told(client, now, now)
        else:
            new_since = told.changed_at if told is not None and told.has(ad, burnt) else now
            self._told[agent] = Told(client, now, new_since, ad, frozenset(burnt), said.tag)
        return self.seconds

    async def _say(self, client: AgentClient, ad: Ad, burnt: Sequence[str], told: Told | None) -> Heard:
        """All of it, or that it has not changed."""
        if told is not None and told.tag is not None and told.has(ad, burnt):
            try:
                return await client.repeat(ad.node, told.tag)
            except Refusal as refusal:
                if refusal.code is not Code.NOT_FOUND:
                    raise
        return await client.advertise(ad, burnt)

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
