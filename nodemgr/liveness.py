"""A sliver that ended without being told to: the node says so within a few seconds, and keeps what is its user's.

Its lease goes from `running` back to `leased`, with when and why; its folder and its keys stay, and `svm start` or
newvms makes it run again.
"""

import logging
from dataclasses import dataclass, replace

from nodemgr.happenings import Happening
from nodemgr.node import Node
from nodemgr.storage.store import LeaseRow
from rpc.background import repeat
from trust.errors import Refusal

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Liveness:
    """Looks at the slivers that should run, every `seconds`."""

    node: Node
    seconds: float = 2

    async def run(self) -> None:
        """For ever; nothing that goes wrong in one round ends it."""
        await repeat(self.tick, self.seconds, "%s cannot look after its slivers; trying again", self.node.identity.name)

    async def tick(self) -> None:
        """One round. A slice that a call is at work on is left to the next one."""
        await self._hear()
        node, meant = self.node, _meant_to_run(self.node)
        if not meant:
            return
        for slice in await node.driver.ended(meant):
            if not node.lock(slice).locked():
                async with node.lock(slice):
                    if await node.driver.ended([slice]):
                        await back_to_lease(node, slice, "ended by itself")

    async def _hear(self) -> None:
        """What happened in slivers, for their owners."""
        if news := await self.node.driver.news():
            held = {lease.slice: lease.slice_id for lease in self.node.store.leases()}
            self.node.happenings.keep(held.values())
            for each in news:
                if each.slice in held:
                    self.node.happenings.note(held[each.slice], Happening(self.node.now(), each.words))


async def start_again(node: Node, slice: str) -> None:
    """Have a sliver run that was stopped with its node or its owner; one that does not goes back to its lease."""
    async with node.lock(slice):
        try:
            await node.with_room(lambda: node.driver.start(slice))
        except Refusal as refusal:
            await back_to_lease(node, slice, f"does not start ({refusal.reason})")
        except Exception:
            log.exception("%s cannot start %s", node.identity.name, slice)
            await back_to_lease(node, slice, "does not start")


async def end_sliver(node: Node, slice: str, why: str) -> None:
    """End a sliver that may not go on as it does; its owner may have it run again."""
    async with node.lock(slice):
        await back_to_lease(node, slice, why)


async def back_to_lease(node: Node, slice: str, why: str) -> None:
    """running → leased, if it should run; for who holds the slice's lock."""
    with node.store.transaction(ahead=""):
        lease = node.store.lease(slice)
        if lease is None or slice not in _meant_to_run(node):
            return
        node.store.put(replace(lease, state="leased"))
        note_end(node, lease, why)
    log.warning("%s: the sliver of %s %s; svm start makes it run", node.identity.name, slice, why)
    try:
        await node.driver.stop(slice)  # whatever is left of it
    except (Refusal, OSError) as error:
        log.warning("%s: what is left of the sliver of %s stays for now: %s", node.identity.name, slice, error)
    await node.close_sessions(slice, None)
    node.changed()


def note_end(node: Node, lease: LeaseRow, why: str) -> None:
    """Write down when and how its sliver ended, for its owner."""
    known = node.store.power(lease.slice_id)
    node.store.set_power(lease.slice_id, replace(known, since=node.now(), reason=why))


def _meant_to_run(node: Node) -> list[str]:
    leases = node.store.leases()
    return [lease.slice for lease in leases if lease.state == "running" and lease.owner not in node.stopped]
