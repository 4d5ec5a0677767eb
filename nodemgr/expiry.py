"""What a node does by itself: recovery after a restart, expiry, and removals that are still to be done.

Nobody else need be up: the node's clock and its own store decide when a sliver ends.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from nodemgr.liveness import start_again
from nodemgr.node import Node
from nodemgr.store import LeaseRow
from trust.errors import Refusal
from trust.identity import Identity

PURGE_SECONDS = 3_600
UNKNOWN = UUID(int=0)  # the registration of a sliver without a lease whose record is damaged

log = logging.getLogger(__name__)


async def recover(node: Node) -> None:
    """Make store and driver agree after a start, however the last run ended.

    A sliver that was being made goes back to its lease and is removed: nobody was told that it is there. One that the
    driver lost goes back to its lease as well, as does one whose record is damaged or that does not start; their homes
    stay. One without a lease is removed. What runs is found again.
    """
    there = await node.driver.list()
    with node.store.transaction():
        for lease in node.store.leases():
            _agree(node, lease, there)
        kept = {lease.slice: lease for lease in node.store.leases() if lease.has_sliver}
        for slice, slice_id in there.items():
            if slice not in kept or slice_id not in (kept[slice].slice_id, None):
                node.store.add_removal(slice, slice_id or UNKNOWN)
    node.stopped = node.store.stopped()
    for lease in kept.values():
        if lease.state == "running" and lease.owner not in node.stopped:
            await start_again(node, lease.slice)
        elif lease.state == "leased":  # the last run may have died while it was to run again
            await _quietly(node, f"stop {lease.slice}", node.driver.stop(lease.slice))
    await Expiry(node).tick()


def _agree(node: Node, lease: LeaseRow, there: Mapping[str, UUID | None]) -> None:
    """Write down what became of one lease's sliver."""
    found = lease.slice in there and there[lease.slice] in (lease.slice_id, None)
    if lease.state == "creating" or (lease.has_sliver and not found):
        log.warning("%s: sliver %s was %s and is not whole", node.identity.name, lease.slice, lease.state)
        node.store.put(replace(lease, state="leased", slice_key=None))
        # Also when the driver does not list it: what is half made may not be listed.
        node.store.add_removal(lease.slice, lease.slice_id)
    elif lease.state == "running" and there[lease.slice] is None:
        log.warning("%s: the record of sliver %s is damaged; newvms makes it run", node.identity.name, lease.slice)
        node.store.put(replace(lease, state="leased"))


@dataclass(slots=True)
class Expiry:
    """Ends what has run out, every `seconds`.

    At a lease's end its sessions are closed (the front door lets nobody in any more); `node.grace` seconds later the
    sliver goes. What the driver could not remove is tried again.
    """

    node: Node
    seconds: float = 1
    _closed: set[tuple[UUID, int]] = field(default_factory=set)
    _purged: datetime | None = None

    async def run(self) -> None:
        """For ever; nothing that goes wrong in one round ends it."""
        while True:
            try:
                await self.tick()
            except Exception:
                log.exception("expiry on %s failed; trying again", self.node.identity.name)
            await asyncio.sleep(self.seconds)

    async def tick(self) -> None:
        """One round."""
        node, now = self.node, self.node.now()
        ended = node.store.ended(now)
        for lease in ended:
            if (lease.slice_id, lease.generation) not in self._closed:
                await node.close_sessions(lease.slice, None)
        self._closed = {(lease.slice_id, lease.generation) for lease in ended}
        for lease in node.store.ended(now - timedelta(seconds=node.grace)):
            self._forget(lease, now)
        for slice in dict(node.store.removals()):
            await _quietly(node, f"remove {slice}", node.remove(slice))
        self._purge(now)

    def _forget(self, lease: LeaseRow, now: datetime) -> None:
        node = self.node
        with node.store.transaction():
            # It may have been renewed while sessions were closed.
            if node.store.lease(lease.slice) == lease:
                log.info("the lease of %s on %s ran out", lease.slice, node.identity.name)
                node.store.forget(lease, now)
        node.changed()

    def _purge(self, now: datetime) -> None:
        if self._purged is None or abs((now - self._purged).total_seconds()) > PURGE_SECONDS:
            with self.node.store.transaction():
                self.node.store.purge(now)
            self._purged = now


async def stop_owners(node: Node, owners: frozenset[Identity]) -> None:
    """Have exactly these owners' slivers stopped and their sessions closed (`dslice plc disable --stop`).

    The slivers of an owner who is no longer among them run again. Kept over restarts; leases end as ever.
    """
    before = node.stopped
    if owners == before:
        return
    node.stopped = owners
    node.store.set_stopped(owners)
    for lease in node.store.leases():
        if lease.state == "running" and lease.owner in owners - before:
            await node.close_sessions(lease.slice, None)
            await _quietly(node, f"stop {lease.slice}", node.driver.stop(lease.slice))
        elif lease.state == "running" and lease.owner in before - owners:
            await start_again(node, lease.slice)


async def _quietly(node: Node, what: str, doing: Awaitable[None]) -> None:
    """One sliver's trouble is not the others'."""
    try:
        await doing
    except Refusal as refusal:
        log.warning("%s cannot %s: %s", node.identity.name, what, refusal.reason)
    except Exception:
        log.exception("%s cannot %s", node.identity.name, what)
