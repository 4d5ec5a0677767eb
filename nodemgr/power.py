"""stop, start, restart, reset: what a sliver's owner orders, done once however often, and however late, it is heard.

Each order carries the moment at which it was given. A node keeps that of the last one: an earlier order comes too late
and changes nothing, the same one again is finished if it was not, and changes nothing if it was (ADR 39).

    running ──stop──▶ leased, with its sliver ──start──▶ running
    running or leased ──restart──▶ leased ──▶ running            ──reset──▶ as it was, its root file system fresh
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from nodemgr.beside import deadline
from nodemgr.caller import Caller
from nodemgr.node import Node
from nodemgr.storage.power import Power
from nodemgr.storage.store import LeaseRow
from trust.authorize import Action
from trust.documents import SKEW
from trust.errors import Code, Refusal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RESTARTED = "was being restarted"


class What(StrEnum):
    """What can be ordered."""

    STOP = "stop"
    START = "start"
    RESTART = "restart"
    RESET = "reset"

    @property
    def action(self) -> Action:
        """As what it counts for who may, and when: what only takes away works without plc."""
        return Action.DELETE if self is What.STOP else Action.CREATE


@dataclass(frozen=True, slots=True)
class Order:
    """One order; `given_at`: the same each time that it is sent."""

    what: What
    slice_id: UUID
    given_at: datetime

    @property
    def number(self) -> int:
        """By which a node tells earlier from later: microseconds since 1970."""
        return (self.given_at - EPOCH) // timedelta(microseconds=1)


async def obey(node: Node, caller: Caller, slice: str, order: Order) -> LeaseRow:
    """Do it; the lease as it is then.

    Raises:
        Refusal: NOT_FOUND when there is no sliver; STALE_GENERATION when a later order has come; BAD_INPUT for one from
            the future; what the driver says, such as NOT_ALLOWED where it cannot reset.
    """
    async with node.lock(slice):
        lease = _sliver(node, caller, slice, order)
        known = node.store.power(order.slice_id)
        if order.number < known.ordered_at:
            raise Refusal(
                Code.STALE_GENERATION, f"{slice} has had a later order than this {order.what}; nothing is done"
            )
        again = order.number == known.ordered_at
        # Done before, whatever became of the sliver since; a stop and a start may have been cut short.
        if not (again and (lease.state == "running" or order.what is What.RESET)):
            async with deadline(f"the {order.what} of the sliver of {slice}"):
                await _DO[order.what](node, lease, replace(known, ordered_at=order.number))
    node.changed()
    return node.own(caller, slice, order.slice_id, order.what.action)


def _sliver(node: Node, caller: Caller, slice: str, order: Order) -> LeaseRow:
    """The lease, if it has a sliver that may be told to do this."""
    lease = node.own(caller, slice, order.slice_id, order.what.action)
    node.require_lease(lease)
    if order.given_at > node.now() + timedelta(seconds=SKEW):
        given = f"{order.given_at:%Y-%m-%d %H:%M:%S} UTC"
        raise Refusal(Code.BAD_INPUT, f"this {order.what} was ordered at {given}, which is yet to come; set the clock")
    if not lease.has_sliver:
        raise Refusal(Code.NOT_FOUND, f"slice {slice} has no VM on this node; svm newvms makes it")
    if lease.owner in node.stopped and order.what is not What.STOP:
        raise Refusal(Code.NOT_ALLOWED, f"{lease.owner.name} is stopped by plc; ask its operator")
    return lease


async def _stop(node: Node, lease: LeaseRow, power: Power) -> None:
    """On disk first: a node that starts anew meanwhile leaves it stopped."""
    _written(node, lease, "leased", replace(power, since=node.now(), reason=""))
    await node.close_sessions(lease.slice, None)
    await node.driver.stop(lease.slice)


async def _start(node: Node, lease: LeaseRow, power: Power) -> None:
    await node.with_room(lambda: node.driver.start(lease.slice))
    _written(node, lease, "running", power)


async def _restart(node: Node, lease: LeaseRow, power: Power) -> None:
    """In two steps, so that one that was cut short is gone on with, and one that was done is not done again."""
    power = replace(power, since=node.now(), reason=RESTARTED)
    _written(node, lease, "leased", power)
    await node.close_sessions(lease.slice, None)
    await node.driver.stop(lease.slice)
    await _start(node, lease, power)


async def _reset(node: Node, lease: LeaseRow, power: Power) -> None:
    await node.with_room(lambda: node.driver.reset(lease.slice))
    await node.close_sessions(lease.slice, None)  # those of a driver that cannot reset go on
    _written(node, lease, lease.state, power)


_DO: dict[What, Callable[[Node, LeaseRow, Power], Awaitable[None]]] = {
    What.STOP: _stop,
    What.START: _start,
    What.RESTART: _restart,
    What.RESET: _reset,
}


def _written(node: Node, lease: LeaseRow, state: str, power: Power) -> None:
    """On disk, unless its slice was deleted meanwhile: a deletion waits for nobody."""
    with node.store.transaction():
        current = node.store.lease(lease.slice)
        if current is None or current.slice_id != lease.slice_id:
            raise Refusal(Code.NOT_FOUND, f"slice {lease.slice} was deleted meanwhile")
        node.store.put(replace(current, state=state))
        node.store.set_power(lease.slice_id, power)
