"""What a node counts by generations: the newest is pushed, under a number above the node's own if that is ahead."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from uuid import UUID

from lifecycle.generations import Counted, outgrow
from tasks.context import WorkerContext
from trust.errors import Code, Refusal

TRIES = 4  # each is above what the node had; more are needed only while others push as well


class Numbered(Protocol):
    """A key set or a key pair."""

    @property
    def generation(self) -> int:
        """Its number, one more at each change."""


Wanted = TypeVar("Wanted", bound=Numbered)
Reply = TypeVar("Reply")


async def push_newest(
    context: WorkerContext,
    slice_row: UUID,
    counted: Counted,
    read: Callable[[], Awaitable[Wanted]],
    send: Callable[[Wanted], Awaitable[Reply]],
) -> tuple[Wanted, Reply]:
    """Read what is wanted now and send it; what was sent, and the answer.

    A node that knows a later generation refuses it: somebody was faster, or svmd's database was put back and has
    forgotten some. Raises Refusal as `send` does.
    """
    tries = 0
    while True:
        wanted, tries = await read(), tries + 1
        try:
            return wanted, await send(wanted)
        except Refusal as refusal:
            there = refusal.detail.get("generation")
            if refusal.code is not Code.STALE_GENERATION or not isinstance(there, int) or tries == TRIES:
                raise
            await context.transaction(outgrow, slice_row, counted, wanted.generation, there)
