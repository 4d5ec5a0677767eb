"""delete: a sliver, its lease and its ticket are taken back (docs/howto.md, "Deleting a slice")."""

from celery import shared_task

from lifecycle.facts import SliceFacts, SliverFacts
from lifecycle.outcome import Claim, Done
from tasks.context import WorkerContext, delegation, facts
from tasks.step import perform
from trust.errors import Code, Refusal


@shared_task(name="delete")
def delete(ids: list[int]) -> None:
    """These steps."""
    perform(ids, take_back)


async def take_back(claim: Claim, context: WorkerContext) -> Done:
    """At the agent while the ticket was never sent; at the node from then on, unless it has ended by itself."""
    slice_, sliver = facts(claim)
    if sliver.overdue is not None and sliver.overdue > context.policy.grace:
        return Done(reason="its lease had ended")
    if sliver.lease is None and not sliver.redeemed:
        await _return_ticket(claim, context, slice_, sliver)
        return Done(reason="its ticket was not used yet")
    if slice_.slice_id is None:
        raise Refusal(Code.INTERNAL, "the slice has no registration")
    try:
        node = context.node(claim, sliver)
        await node.delete(slice_.name, slice_.slice_id, sliver.jti, delegation(claim, slice_))
    except Refusal as refusal:
        if refusal.code is Code.NOT_FOUND:
            return Done(reason="it was gone already")
        end = f"{sliver.expires_at:%Y-%m-%d %H:%M:%S} UTC" if sliver.expires_at else "its lease's end"
        joint = " " if refusal.reason.endswith("?") else "; "
        advice = f"{refusal.reason}{joint}the node itself ends the sliver after {end}"
        raise Refusal(refusal.code, advice, **refusal.detail) from refusal
    return Done()


async def _return_ticket(claim: Claim, context: WorkerContext, slice_: SliceFacts, sliver: SliverFacts) -> None:
    (entry,) = await context.agents([sliver.agent])
    try:
        await context.agent(entry).return_ticket(sliver.jti or "", delegation(claim, slice_))
    except Refusal as refusal:
        if refusal.code is not Code.NOT_FOUND:
            raise
