"""newleases: a ticket is redeemed at its node for a lease (docs/howto.md, "When some nodes fail")."""

from datetime import timedelta

from celery import shared_task

from lifecycle.facts import SliceFacts, SliverFacts
from lifecycle.inventory import Expected
from lifecycle.outcome import Claim, Done
from models.states import LEASED, SliverState
from nodemgr.client import LeaseReply
from tasks.context import WorkerContext, delegation, ended, facts
from tasks.step import perform
from trust.documents import MAX_LEASELEN, SKEW, Lease, verify_lease
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@shared_task(name="newleases")
def newleases(ids: list[int]) -> None:
    """These steps."""
    perform(ids, redeem)


async def redeem(claim: Claim, context: WorkerContext) -> Done:
    """Ticket to lease; its holder asking again gets the same lease."""
    slice_, sliver = facts(claim)
    if sliver.state in LEASED and not sliver.expired:
        return Done(unchanged=True, reason="it has its lease already")
    if sliver.ticket is None or sliver.expired or sliver.state is not SliverState.TICKETED:
        raise ended(sliver)
    reply = await context.node(claim, sliver).redeem(sliver.ticket, delegation(claim, slice_))
    lease = receipt(reply, slice_, sliver, context)
    return Done(lease=reply.token, generation=lease.generation, expires_at=lease.expires_at)


def receipt(
    reply: LeaseReply, slice_: SliceFacts | Expected, sliver: SliverFacts | Expected, context: WorkerContext
) -> Lease:
    """The lease, checked on arrival: the node's own, for this slice and owner, no longer than was asked for.

    Raises Refusal(NOT_ALLOWED) for any other, or as `trust.documents.verify_lease`.
    """
    lease = verify_lease(reply.token, store=context.store)
    leaselen = MAX_LEASELEN if slice_.leaselen_changed else slice_.leaselen  # a ticket may be older than the change
    longest = context.store.clock.now() + timedelta(seconds=leaselen + SKEW)
    wrong = {
        "signer": lease.issuer != Identity(Role.NODE, sliver.node_name),
        "owner": lease.owner != slice_.owner,
        "slice": lease.slice != slice_.name or lease.slice_id != slice_.slice_id,
        "generation": lease.generation < sliver.generation,
        "share of the node": lease.needs != slice_.needs,
        # A renewal never shortens: an older, longer lease may live on in it.
        "end": lease.expires_at > max(longest, sliver.expires_at or longest),
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise Refusal(Code.NOT_ALLOWED, f"the node gave a lease with a wrong {what}: tell its operator")
    return lease
