"""What a node does by itself: recovery after a restart, expiry, and removals that are still to be done.

Nobody else need be up: the node's clock and its own store decide when a sliver ends.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from nodemgr.beside import Beside
from nodemgr.liveness import note_end, start_again
from nodemgr.node import Node
from nodemgr.stops import halt
from nodemgr.storage.store import LeaseRow
from rpc.background import surviving, within

PURGE_SECONDS = 3_600
UNKNOWN = UUID(int=0)  # the registration of a sliver without a lease whose record is damaged
AT_START = 5  # seconds
IDLE = 10  # times as long between two rounds without anything to do: a clock may be set, a deadline may pass

log = logging.getLogger(__name__)


async def recover(node: Node) -> None:
    """Make store and driver agree after a start, however the last run ended.

    What there is for a lease without a sliver is removed: it may have been half made when the last run ended, and
    nobody was told that it is there. A sliver that the driver lost goes back to its lease, as does one whose record is
    damaged or that does not start; their homes stay. One without a lease is removed. What runs is found again.
    """
    there = await node.driver.list()
    with node.store.transaction(ahead=""):
        for lease in node.store.leases():
            _agree(node, lease, there)
        kept = {lease.slice: lease for lease in node.store.leases() if lease.has_sliver}
        for slice, slice_id in there.items():
            if slice not in kept or slice_id not in (kept[slice].slice_id, None):
                node.store.add_removal(slice, slice_id or UNKNOWN)
    node.stopped = node.store.stopped()
    for lease in kept.values():
        if lease.state == "leased":  # the last run may have died while it was to run again
            node.beside.begin("stop the sliver of", lease.slice, partial(node.driver.stop, lease.slice))
        elif lease.owner in node.stopped:
            node.halted[lease.slice_id] = False
        else:
            node.beside.begin("start the sliver of", lease.slice, partial(start_again, node, lease.slice))
    await node.beside.finished()
    # What is quick is done before anybody calls; what is stuck is tried again while they do.
    await Expiry(node).tick(AT_START)


def _agree(node: Node, lease: LeaseRow, there: Mapping[str, UUID | None]) -> None:
    """Write down what became of one lease's sliver."""
    found = lease.slice in there and there[lease.slice] in (lease.slice_id, None)
    if not lease.has_sliver or not found:
        if lease.slice_key is not None:
            log.warning("%s: sliver %s was %s and is not whole", node.identity.name, lease.slice, lease.state)
            node.store.put(replace(lease, state="leased", slice_key=None))
        # Also when the driver does not list it: what is half made may not be listed.
        node.store.add_removal(lease.slice, lease.slice_id, lease.needs)
    elif lease.state == "running" and there[lease.slice] is None:
        log.warning("%s: the record of sliver %s is damaged; svm start makes it run", node.identity.name, lease.slice)
        node.store.put(replace(lease, state="leased"))
        note_end(node, lease, "has a damaged record")


@dataclass(slots=True)
class Expiry:
    """Ends what has run out, and what plc has stopped: every `seconds` while something is to be done, else seldom.

    At a lease's end its sessions are closed (the front door lets nobody in any more); `node.grace` seconds later the
    sliver goes. Nothing here waits for a driver, and what is not done yet is seen in the next round.
    """

    node: Node
    seconds: float = 1
    closing: Beside = field(default_factory=lambda: Beside(most=64))
    _closed: set[tuple[UUID, int]] = field(default_factory=set)
    _purged: datetime | None = None
    _changes: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self) -> None:
        """Look soon; from the loop's own thread."""
        self._changes.set()

    async def run(self) -> None:
        """For ever; nothing that goes wrong in one round ends it."""
        while True:
            self._changes.clear()
            with surviving("expiry on %s failed; trying again", self.node.identity.name):
                self.look()
            await within(self._pause(), self._changes)

    async def tick(self, seconds: float | None = None) -> None:
        """One round, and (for so long at most) what it began."""
        self.look()
        await self.closing.finished(seconds)
        await self.node.beside.finished(seconds)

    def look(self) -> None:
        """One round: begins what is to be done."""
        node, now = self.node, self.node.now()
        node.store.settle()
        ended = {(lease.slice_id, lease.generation): lease for lease in node.store.ended(now)}
        self._closed &= ended.keys()
        for key in ended.keys() - self._closed:
            slice = ended[key].slice
            self.closing.begin("close the sessions of", slice, partial(self._close, slice, key))
        for lease in node.store.ended(now - timedelta(seconds=node.grace)):
            self._forget(lease, now)
        for slice in dict(node.store.removals()):
            node.beside.begin("remove the sliver of", slice, partial(node.remove, slice))
        halt(node)
        self._purge(now)

    def _pause(self) -> float:
        """Seconds until the next round."""
        store = self.node.store
        if store.owed or store.removals() or self.node.halted or self.node.stopped:
            return self.seconds
        left = min(((lease.expires_at - self.node.now()).total_seconds() for lease in store.leases()), default=math.inf)
        return min(max(left, self.seconds), IDLE * self.seconds)

    async def _close(self, slice: str, ended: tuple[UUID, int]) -> None:
        await self.node.close_sessions(slice, None)
        self._closed.add(ended)

    def _forget(self, lease: LeaseRow, now: datetime) -> None:
        """One lease's trouble is not the others'."""
        node = self.node
        try:
            node.store.forget(lease, now)
        except Exception:
            log.exception("cannot end the lease of %s on %s; trying again", lease.slice, node.identity.name)
            return
        log.info("the lease of %s on %s ran out", lease.slice, node.identity.name)
        node.changed()

    def _purge(self, now: datetime) -> None:
        if self._purged is None or abs((now - self._purged).total_seconds()) > PURGE_SECONDS:
            self.node.store.purge(now)
            self._purged = now
