"""Which sliver takes the disk from the others, and its end: it stops, and keeps its files, which its owner may delete.

Quotas would be better and need root, and a file system that has them; this holds without.
"""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from nodemgr.beside import deadline
from nodemgr.liveness import back_to_lease
from nodemgr.node import Node
from nodemgr.storage.disk import Disk
from nodemgr.storage.store import LeaseRow
from rpc.background import repeat
from trust.errors import Refusal

GROWN_KIB = 1024  # between two rounds, that count as taking the disk

log = logging.getLogger(__name__)

Sizes = Mapping[UUID, float]


def taker(before: Sizes, now: Sizes, floor_kib: int, spared: Collection[UUID]) -> UUID | None:
    """The sliver to be stopped on a full disk, by slice_id; None when it is none of them.

    The one that grew most since the round before. When none grew: the largest, if its files alone would make up what
    is missing, unless it was stopped for that already and its owner has it run again.

    Args:
        before, now: KiB of each sliver's files; infinite where they could not be counted.
        spared: stopped before, since the disk was last well.
    """
    grown = {key: now[key] - before[key] for key in now.keys() & before.keys() if math.isfinite(now[key])}
    grown = {key: more for key, more in grown.items() if more >= GROWN_KIB}
    if grown:
        return max(grown, key=lambda key: grown[key])
    large = {key: size for key, size in now.items() if size >= floor_kib and key not in spared}
    return max(large, key=lambda key: large[key]) if large else None


@dataclass(slots=True)
class Watch:
    """Looks at the free space every `seconds`; at the slivers only when it is low, which reads all their folders."""

    node: Node
    disk: Disk
    seconds: float = 5
    _before: dict[UUID, float] = field(default_factory=dict)
    _spared: set[UUID] = field(default_factory=set)

    async def run(self) -> None:
        """For ever; nothing that goes wrong in one round ends it."""
        await repeat(self.look, self.seconds, "%s cannot look after its disk; trying again", self.node.identity.name)

    async def look(self) -> None:
        """One round."""
        floor, free = self.disk.floor_mb, self.disk.free_mb
        if free >= 2 * floor:
            self._before, self._spared = {}, set()
            return
        running = {lease.slice_id: lease for lease in self.node.store.leases() if lease.state == "running"}
        sizes = {slice_id: await self._size(lease.slice) for slice_id, lease in running.items()}
        found = taker(self._before, sizes, floor * 1024, self._spared) if free < floor else None
        self._before = sizes
        if found is not None:
            self._spared.add(found)
            await self._stop(running[found])

    async def _size(self, slice: str) -> float:
        try:
            async with deadline(f"counting the files of {slice}"):
                return await self.node.driver.disk_kib(slice)
        except Refusal as refusal:
            log.warning("%s cannot count the files of %s: %s", self.node.identity.name, slice, refusal.reason)
            return math.inf

    async def _stop(self, lease: LeaseRow) -> None:
        node = self.node
        log.error("%s: the disk is full and %s takes it; its sliver is stopped", node.identity.name, lease.slice)
        await node.close_sessions(lease.slice, None)
        async with node.lock(lease.slice):
            current = node.store.lease(lease.slice)
            if current is not None and current.slice_id == lease.slice_id and current.state == "running":
                async with deadline(f"stopping the sliver of {lease.slice}"):
                    await node.driver.stop(lease.slice)
                await back_to_lease(node, lease.slice, "was stopped: its files filled the disk")
