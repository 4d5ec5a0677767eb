"""release: after a deletion, and after clean, plc gets the slice's name back, through each agent that registered it."""

from celery import shared_task

from models.claims import Claim
from models.endings import agents_and_end
from models.results import Done
from tasks.newtickets import slice_of
from tasks.step import perform
from tasks.workshop import Workshop, delegation
from trust.errors import Code, Refusal


@shared_task(name="release")
def release(ids: list[int]) -> None:
    """These steps."""
    perform(ids, give_back)


async def give_back(claim: Claim, shop: Workshop) -> Done:
    """Until the latest possible end of a sliver on a node that was not reached, only the same owner gets the name."""
    slice_ = slice_of(claim)
    if slice_.slice_id is None:
        return Done()
    agents, held_until = await shop.read(agents_and_end, slice_.id, shop.policy.grace)
    for entry in await shop.agents(agents) if agents else ():
        try:
            client = shop.agent(entry)
            await client.release_slice(slice_.name, slice_.slice_id, held_until, delegation(claim, slice_))
        except Refusal as refusal:
            if refusal.code is not Code.NOT_FOUND:
                raise
    return Done(reason=f"the name {slice_.name} is free again")
