"""renew: a lease gives way to one to now + leaselen (docs/howto.md, "Renewing leases"). A failure keeps the old one."""

from datetime import timedelta
from uuid import UUID

from celery import shared_task

from lifecycle.outcome import Claim, Done
from models.states import LEASED
from nodemgr.client import LeaseReply
from tasks.context import WorkerContext, delegation, ended, facts
from tasks.newleases import receipt
from tasks.step import perform
from trust.documents import SKEW
from trust.errors import Code, Refusal


@shared_task(name="renew")
def renew(ids: list[int]) -> None:
    """These steps."""
    perform(ids, replace)


async def replace(claim: Claim, context: WorkerContext) -> Done:
    """From generation n to n + 1; when the node is there already, that lease."""
    slice_, sliver = facts(claim)
    if sliver.state not in LEASED or sliver.expired or slice_.slice_id is None:
        raise ended(sliver)
    reply = await _renewed(claim, context, slice_.slice_id)
    lease = receipt(reply, slice_, sliver, context)
    asked = context.store.clock.now() + timedelta(seconds=slice_.leaselen)
    detail: dict[str, object] = {
        "old": sliver.expires_at.isoformat() if sliver.expires_at else None,
        "new": lease.expires_at.isoformat(),
        "short": lease.expires_at < asked - timedelta(seconds=SKEW + context.policy.step),
    }
    return Done(lease=reply.token, generation=lease.generation, expires_at=lease.expires_at, detail=detail)


async def _renewed(claim: Claim, context: WorkerContext, slice_id: UUID) -> LeaseReply:
    """From the table's generation; from the node's where that is ahead, because svmd's database was put back."""
    slice_, sliver = facts(claim)
    node, token = context.node(claim, sliver), delegation(claim, slice_)
    leaselen = slice_.leaselen if slice_.leaselen_changed else None
    try:
        return await node.renew(slice_.name, slice_id, sliver.generation, token, leaselen)
    except Refusal as refusal:
        if refusal.code is Code.BAD_INPUT and leaselen:  # an older node: better the old length than no lease
            leaselen, there = None, sliver.generation
        else:
            there = _ahead(refusal)
    return await node.renew(slice_.name, slice_id, there, token, leaselen)


def _ahead(refusal: Refusal) -> int:
    """The generation that the node has; any other refusal is raised again."""
    there = refusal.detail.get("generation")
    if refusal.code is not Code.STALE_GENERATION or not isinstance(there, int):
        raise refusal
    return there


async def newer_lease(claim: Claim, context: WorkerContext) -> LeaseReply | None:
    """The lease that the node has, where it is of another generation than the table's."""
    slice_, sliver = facts(claim)
    node, token = context.node(claim, sliver), delegation(claim, slice_)
    held = await node.get(slice_.name, token)
    if held.slice_id != slice_.slice_id or held.generation == sliver.generation:
        return None
    reply = await node.renew(slice_.name, held.slice_id, to_learn(sliver.generation, held.generation), token)
    receipt(reply, slice_, sliver, context)
    return reply


def to_learn(known: int, there: int) -> int:
    """Where to renew from to be told of the node's lease: from the generation before its own a node gives the lease
    that it has, and makes no new one. A node that has forgotten some goes on from what the table knows."""
    return max(known, there - 1)
