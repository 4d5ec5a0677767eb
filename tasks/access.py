"""What addkey, delkey and nukekeys do on a node: push the slice's whole key set, with its generation."""

from models.claims import Claim
from models.keys import wanted_keys
from models.results import Done
from models.states import SliverState
from tasks.workshop import Workshop, delegation, ended, facts
from trust.errors import Code, Refusal


async def push_keys(claim: Claim, shop: Workshop) -> Done:
    """The set as it is wanted now, not as it was when the step was made: the newest is what every node shall have."""
    slice_, sliver = facts(claim)
    if sliver.state is not SliverState.RUNNING or sliver.expired:
        raise ended(sliver)
    generation, lines = await shop.read(wanted_keys, slice_.id)
    if generation == 0:
        return Done(unchanged=True)
    if slice_.slice_id is None:
        raise Refusal(Code.INTERNAL, "the slice has no registration")
    node = shop.node(claim, sliver)
    try:
        await node.set_access(slice_.name, slice_.slice_id, generation, lines, delegation(claim, slice_))
    except Refusal as refusal:
        if refusal.code is not Code.STALE_GENERATION:
            raise
        # Another key verb was faster; its set holds what ours had.
        newer, _ = await shop.read(wanted_keys, slice_.id)
        if newer <= generation:
            raise
    return Done(key_generation=generation)
