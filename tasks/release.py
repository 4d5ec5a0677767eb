"""release: after a deletion, and after clean, plc gets the slice's name back, through each agent that registered it."""

from collections.abc import Mapping
from datetime import datetime

from celery import shared_task

from lifecycle.deletion import left_of
from lifecycle.outcome import Claim, Done
from tasks.context import WorkerContext, delegation
from tasks.newtickets import slice_of
from tasks.step import perform
from trust.errors import Code, Refusal


@shared_task(name="release")
def release(ids: list[int]) -> None:
    """These steps."""
    perform(ids, give_back)


async def give_back(claim: Claim, context: WorkerContext) -> Done:
    """Until the latest possible end of a sliver on a node that was not reached, only the same owner gets the name."""
    slice_ = slice_of(claim)
    agents, left = await context.transaction(left_of, slice_.id, context.policy.grace)
    held_until = max((end for end in left.values() if end), default=None)
    if slice_.slice_id is not None:
        for entry in await context.agents(agents) if agents else ():
            try:
                client = context.agent(entry)
                await client.release_slice(slice_.name, slice_.slice_id, held_until, delegation(claim, slice_))
            except Refusal as refusal:
                if refusal.code is not Code.NOT_FOUND:
                    raise
    return Done(reason=_told(slice_.name, left, held_until))


def _told(name: str, left: Mapping[str, datetime | None], held_until: datetime | None) -> str:
    if not left:
        return f"the name {name} is free again"
    end = f", until {held_until:%Y-%m-%d %H:%M:%S} UTC at the latest" if held_until else ""
    return f"the name {name} is not free yet: {', '.join(left)} may still have its sliver{end}"
