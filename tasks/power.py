"""What start, stop, restart and reset do on a node: tell it the order, with the moment at which its user gave it.

Told twice it is done once, and after a later order it is not done at all (ADR 39).
"""

from collections.abc import Callable

from celery import shared_task

from lifecycle.outcome import Claim, Done
from models.states import WITH_VM, Kind, SliverState
from tasks.context import WorkerContext, delegation, ended, facts
from tasks.rekey import give_pair
from tasks.step import perform
from trust.errors import Code, Refusal


def order_task(name: str) -> Callable[[list[int]], None]:
    """The task of this name: these steps."""

    @shared_task(name=name)
    def order(ids: list[int]) -> None:
        perform(ids, give_order)

    return order


async def give_order(claim: Claim, context: WorkerContext) -> Done:
    """One that runs again gets the slice's key pair, if that has changed while it did not."""
    slice_, sliver = facts(claim)
    if sliver.expired or sliver.state not in (*WITH_VM, SliverState.LEASED, SliverState.TICKETED):
        raise ended(sliver)
    if sliver.state not in WITH_VM:
        raise Refusal(Code.NOT_FOUND, f"it has no VM yet: svm newvms {slice_.name} {sliver.node} makes it")
    if slice_.slice_id is None:
        raise Refusal(Code.INTERNAL, "the slice has no registration")
    node, token = context.node(claim, sliver), delegation(claim, slice_)
    await node.order(claim.kind, slice_.name, slice_.slice_id, claim.asked_at, token)
    runs = claim.kind in (Kind.START, Kind.RESTART)
    if runs and sliver.pair_generation < slice_.pair_wanted:
        return Done(pair_generation=await give_pair(claim, context))
    return Done()
