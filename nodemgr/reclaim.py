"""A node's own ports, taken back from its slivers.

Slivers share the host's network, and run on while their node manager does not: one of them may take its ports.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from nodemgr.liveness import end_sliver
from nodemgr.node import Node
from rpc.sockets import CannotListen

T = TypeVar("T")
TRIES = 5  # of ending processes only; what comes back more often is ended with its sliver
PAUSE = 0.2  # seconds in which the kernel closes what an ended process had open


async def listening(node: Node, places: Sequence[tuple[str, int]], listen: Callable[[], Awaitable[T]]) -> T:
    """What comes of `listen`, which listens at `places` (host, port); a sliver that holds one of their ports loses it.

    Raises:
        CannotListen: when somebody else holds it.
    """
    for left in reversed(range(2 * TRIES)):
        try:
            return await listen()
        except CannotListen as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if not left or not await _take_back(node, places, whole_slivers=left < TRIES):
                raise
            await asyncio.sleep(PAUSE)
    raise AssertionError


async def _take_back(node: Node, places: Sequence[tuple[str, int]], *, whole_slivers: bool) -> bool:
    """Whether a sliver held one of the ports. `whole_slivers`: it has been told before."""
    found = [slice for _, port in places if port for slice in await node.driver.end_holders(port)]
    if whole_slivers:
        for slice in set(found):
            await end_sliver(node, slice, "takes a port of this node again and again")
    return bool(found)
