"""What plc's operator wants of nodes: no new slivers, no renewals, slivers removed. Asked for again and again.

plc says which nodes are drained, under the CA's signature. An order to remove slivers has a signature of its own, the
CA's or an admin's, and each is checked here: an owner's, a service manager's or another node's is none. What is wanted
is compared with what is there at each look, so that an order which came while the node was away is obeyed afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from plc.client.orders import Drain, Ordered, Orders
from rpc.background import repeat
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.orders import Order, verify_order

if TYPE_CHECKING:
    from nodemgr.node import Node
    from nodemgr.storage.store import LeaseRow
    from trust.store import TrustStore

Ask = Callable[[str | None], Orders | None]
Tell = Callable[[Sequence[str]], None]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Wanted:
    """What one node has heard.

    Args:
        removed: by node's slices (slice_id), the order that removed one here, or would have; svmd is told of them.
    """

    drain: Drain | None = None
    removed: dict[str, Order] = field(default_factory=dict)

    def require_room(self, now: datetime) -> None:
        """Refusal(OVER_CAPACITY) while it takes no new slivers."""
        if self.drain is not None and self.drain.counts(now):
            raise Refusal(Code.OVER_CAPACITY, f"this node is drained: {self.drain.reason}; take another node")

    def require_renewals(self, now: datetime) -> None:
        """Refusal(NOT_ALLOWED) while no lease is renewed here."""
        if self.drain is not None and not self.drain.renews and self.drain.counts(now):
            raise Refusal(
                Code.NOT_ALLOWED,
                f"this node is drained and renews no lease: {self.drain.reason}; copy what you need from it",
            )

    def drained(self, now: datetime) -> bool:
        return self.drain is not None and self.drain.counts(now)

    def leaving(self, now: datetime) -> str | None:
        """Why slices that heal are to take other nodes instead; None where they are not."""
        return self.drain.reason if self.drain is not None and self.drain.replaces and self.drained(now) else None


@dataclass(slots=True)
class Heed:
    """The looks of one process.

    Args:
        ask: plc, in a thread; None where nothing has changed since the tag.
        nodes: each with whom it tells what it has done, in a thread.
    """

    ask: Ask
    nodes: Sequence[tuple[Node, Tell]]
    _orders: Orders | None = None

    async def run(self, seconds: float) -> None:
        """For ever; while plc does not answer, what it said last counts."""
        await repeat(self.look, seconds, "cannot ask plc what its operator wants; trying again")

    async def look(self) -> None:
        """One look."""
        found = await asyncio.to_thread(self.ask, self._orders.tag if self._orders else None)
        self._orders = orders = found or self._orders
        if orders is None:
            return
        for node, _ in self.nodes:
            drain = orders.drains.get(node.identity.name)
            if drain != node.orders.drain:
                node.orders.drain = drain
                node.changed()
        readable = _readable(orders.removals, self.nodes[0][0].trust)
        concerned = [(node, tell) for node, tell in self.nodes if readable or node.orders.removed]
        await asyncio.gather(*(obey(node, tell, readable) for node, tell in concerned))


def _readable(removals: Sequence[Ordered], trust: TrustStore) -> list[tuple[Order, bool]]:
    """Those that whoever may has signed; nobody obeys the others."""
    found = []
    for one in removals:
        try:
            found.append((verify_order(one.token, one.signer, trust), one.done))
        except Refusal as refusal:
            log.warning("an order to remove slivers is not obeyed: %s", refusal.reason)
    return found


async def obey(node: Node, tell: Tell, orders: Sequence[tuple[Order, bool]]) -> None:
    """Remove what this node is to remove, and tell plc."""
    mine = [(order, done) for order, done in orders if order.is_for(node.identity)]
    node.orders.removed = {str(order.slice_id): order for order, _ in mine}
    done = []
    for order, was_done in mine:
        if was_done:
            continue
        try:
            await remove(node, order)
        except Refusal as refusal:
            log.warning("%s cannot remove %s yet: %s", node.identity.name, order.slice, refusal.reason)
            continue
        if order.node is not None:
            done.append(order.jti)
    if done:
        await asyncio.to_thread(tell, done)


async def remove(node: Node, order: Order) -> None:
    """Forget the lease, end its sessions, have the sliver removed. Nothing to do when it is not there."""
    held = node.store.lease(order.slice)
    if held is None or held.slice_id != order.slice_id:
        return
    log.info("%s removes %s by order of %s: %s", node.identity.name, order.slice, order.issuer.name, order.reason)
    with node.store.transaction(ahead=order.slice):
        node.store.forget(held, node.now())
    await node.close_sessions(order.slice, None)
    node.changed()  # and the sliver, which is on the list of removals now, goes at the next round of expiry


def told_to(svm: Identity | None, node: Node, there: Sequence[LeaseRow]) -> list[dict[str, str]]:
    """For a service manager, which slivers the operator had removed, and why; not of what is there again."""
    if svm is None:
        return []
    again = {str(lease.slice_id) for lease in there}
    return [
        {"slice": order.slice, "slice_id": slice_id, "reason": order.reason, "at": order.issued_at.isoformat()}
        for slice_id, order in node.orders.removed.items()
        if slice_id not in again
    ]
