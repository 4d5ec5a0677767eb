"""newvms: a lease becomes a VM on its node (docs/howto.md, "When some nodes fail"). Keys follow in their own step."""

from dataclasses import replace

from celery import shared_task

from lifecycle.generations import Counted
from lifecycle.keypair import Pair
from lifecycle.outcome import Claim, Done
from models.states import Kind, SliverState
from nodemgr.client import LeaseReply, SliverReply
from tasks.context import WorkerContext, delegation, ended, facts
from tasks.newest import push_newest
from tasks.rekey import newest_pair
from tasks.renew import newer_lease
from tasks.step import act_of, perform
from trust.errors import Code, Refusal


@shared_task(name="newvms")
def newvms(ids: list[int]) -> None:
    """These steps."""
    perform(ids, create)


@act_of(Kind.NEWVMS)
async def create(claim: Claim, context: WorkerContext) -> Done:
    """Lease to VM; one that is there under this lease is returned as it is, and one that is stopped is started."""
    slice_, sliver = facts(claim)
    if sliver.state is SliverState.RUNNING and not sliver.expired:
        return Done(unchanged=True, reason="its VM runs already")
    if sliver.state is SliverState.TICKETED:
        raise Refusal(Code.NOT_FOUND, f"it has no lease yet: svm newleases {slice_.name} {sliver.node}")
    if sliver.lease is None or sliver.expired or sliver.state not in (SliverState.LEASED, SliverState.STOPPED):
        raise ended(sliver)
    pair, lease, reply = await _make(claim, context)
    door = (reply.frontdoor.address, reply.frontdoor.port, reply.frontdoor.host_key)
    done = Done(frontdoor=door, pair_generation=pair.generation)
    if lease is not None:
        done = replace(done, lease=lease.token, generation=lease.generation, expires_at=lease.expires_at)
    return done


async def _make(claim: Claim, context: WorkerContext) -> tuple[Pair, LeaseReply | None, SliverReply]:
    """What was sent and what came back; the lease where the node has a later one than the table."""
    slice_, sliver = facts(claim)
    node, token = context.node(claim, sliver), delegation(claim, slice_)
    lease: LeaseReply | None = None
    public, sealed = slice_.public_key, slice_.sealed_key
    if public is None or sealed is None:
        anew = f"svm deleteslice {slice_.name}, then svm createslice FILE, give it one"
        raise Refusal(Code.INTERNAL, f"the slice has no key pair: {anew}")
    # As it was at the claim, if that is the newest: sixteen steps at once need not ask for it.
    at_hand = [] if slice_.pair_generation < slice_.pair_wanted else [Pair(slice_.pair_generation, public, sealed)]

    async def read() -> Pair:
        return at_hand.pop() if at_hand else await newest_pair(slice_, context)

    async def send(pair: Pair) -> SliverReply:
        nonlocal lease
        keys = (context.seal.open(slice_.id, pair.sealed_key), pair.public_key)
        shown = lease.token if lease else sliver.lease or ""
        try:
            return await node.create(slice_.name, shown, *keys, token, pair.generation)
        except Refusal as refusal:
            if refusal.code is not Code.STALE_GENERATION or lease is not None:
                raise
            if (lease := await newer_lease(claim, context)) is None:
                raise
        return await node.create(slice_.name, lease.token, *keys, token, pair.generation)

    pair, reply = await push_newest(context, slice_.id, Counted.PAIR, read, send)
    return pair, lease, reply
