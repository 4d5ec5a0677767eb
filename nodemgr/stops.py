"""Whom plc has stopped (`dslice plc disable --stop`): nobody is inside their slivers, and none of these runs.

What is wanted is compared with what runs, again and again: a stop that failed is repeated, and a sliver that was being
made meanwhile is seen in the next round.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from nodemgr.liveness import start_again
from nodemgr.node import Node
from nodemgr.storage.store import LeaseRow
from rpc.background import repeat
from trust.identity import Identity


def stop_owners(node: Node, owners: frozenset[Identity]) -> None:
    """Have exactly these owners stopped. Kept over restarts; leases end as ever.

    The slivers of an owner who is no longer among them run again.
    """
    if owners != node.stopped or node.store.owners_unknown:
        node.stopped = owners
        node.store.set_stopped(owners)
    halt(node)


def halt(node: Node) -> None:
    """One round: begin to stop what must not run, and to start again what may."""
    if not node.stopped and not node.halted:
        return
    running = {lease.slice_id: lease for lease in node.store.leases() if lease.state == "running"}
    node.halted = {slice_id: done for slice_id, done in node.halted.items() if slice_id in running}
    for slice_id, lease in running.items():
        if lease.owner in node.stopped and not node.halted.get(slice_id):
            node.beside.begin("stop the sliver of", lease.slice, partial(_stop, node, lease))
        elif lease.owner not in node.stopped and slice_id in node.halted:
            node.beside.begin("start the sliver of", lease.slice, partial(_start, node, lease))


async def heed_stops(stops: Callable[[], frozenset[Identity]], nodes: Sequence[Node], seconds: float) -> None:
    """Ask plc for ever; while it does not answer, what it said last counts."""

    async def look() -> None:
        owners = await asyncio.to_thread(stops)
        for node in nodes:
            stop_owners(node, owners)

    await repeat(look, seconds, "cannot heed plc's stops; trying again")


async def _stop(node: Node, lease: LeaseRow) -> None:
    await node.close_sessions(lease.slice, None)
    async with node.lock(lease.slice):
        if _runs(node, lease) and lease.owner in node.stopped:
            node.halted[lease.slice_id] = False
            await node.driver.stop(lease.slice)
            node.halted[lease.slice_id] = True


async def _start(node: Node, lease: LeaseRow) -> None:
    await start_again(node, lease.slice)
    node.halted.pop(lease.slice_id, None)


def _runs(node: Node, lease: LeaseRow) -> bool:
    """Whether it is still there and said to run, now that the lock is held."""
    current = node.store.lease(lease.slice)
    return current is not None and current.slice_id == lease.slice_id and current.state == "running"
