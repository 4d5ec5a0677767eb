"""newvms: a lease becomes a VM on its node (howto, "Partial failures", step 3). Keys follow in a step of their own."""

from celery import shared_task

from models.claims import Claim
from models.pairs import Pair
from models.results import Done
from models.states import SliverState
from tasks.rekey import newest_pair
from tasks.step import perform
from tasks.workshop import Workshop, delegation, ended, facts
from trust.errors import Code, Refusal


@shared_task(name="newvms")
def newvms(ids: list[int]) -> None:
    """These steps."""
    perform(ids, create)


async def create(claim: Claim, shop: Workshop) -> Done:
    """Lease to VM; one that is there under this lease is returned as it is."""
    slice_, sliver = facts(claim)
    if sliver.state is SliverState.RUNNING and not sliver.expired:
        return Done(unchanged=True, reason="its VM runs already")
    if sliver.state is SliverState.TICKETED:
        raise Refusal(Code.NOT_FOUND, f"it has no lease yet: svm newleases {slice_.name} {sliver.node}")
    if sliver.lease is None or sliver.expired or sliver.state is not SliverState.LEASED:
        raise ended(sliver)
    if slice_.sealed_key is None or slice_.public_key is None:
        anew = f"svm deleteslice {slice_.name}, then svm createslice FILE, give it one"
        raise Refusal(Code.INTERNAL, f"the slice has no key pair: {anew}")
    pair = Pair(slice_.pair_generation, slice_.public_key, slice_.sealed_key)
    if slice_.pair_generation < slice_.pair_wanted:
        pair = await newest_pair(slice_, shop)
    private_key = shop.seal.open(slice_.id, pair.sealed_key)
    node, token = shop.node(claim, sliver), delegation(claim, slice_)
    reply = await node.create(slice_.name, sliver.lease, private_key, pair.public_key, token, pair.generation)
    door = reply.frontdoor
    return Done(frontdoor=(door.address, door.port, door.host_key), pair_generation=pair.generation)
