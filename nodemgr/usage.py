"""Telling plc how long slivers were granted and used here: seldom, at a time of the node's own, until plc knows."""

import asyncio
import random
from collections.abc import Callable, Sequence

from nodemgr.node import Node
from nodemgr.storage.ledger import Interval
from plc.client.usage import Used
from rpc.background import surviving

AT_ONCE = 500  # intervals in one call
AGAIN_SECONDS = 86_400  # after which all that are kept are told once more

Tell = Callable[[Sequence[Used]], None]


async def tell_usage(node: Node, tell: Tell, seconds: float) -> None:
    """For ever; `tell`: plc, in a thread. All nodes of a slice change at once, and tell it at different times."""
    loop = asyncio.get_running_loop()
    again_at = loop.time()
    await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311  # no secret
    while True:
        with surviving("%s cannot tell plc what was used; trying again", node.identity.name):
            if loop.time() >= again_at:
                node.store.tell_again()
                again_at = loop.time() + AGAIN_SECONDS
            await told(node, tell)
        await asyncio.sleep(seconds)


async def told(node: Node, tell: Tell) -> None:
    """Everything that plc does not know. Refusal where it does not take it: it is told again then."""
    while found := node.store.untold(AT_ONCE):
        await asyncio.to_thread(tell, [_used(each) for each in found])
        node.store.told(found)


def _used(interval: Interval) -> Used:
    ids = (interval.id, str(interval.kind), interval.slice, interval.slice_id, interval.owner.name)
    return Used(*ids, interval.began, interval.bound, interval.ended)
