"""renew: a lease gives way to one to now + leaselen (howto, "Renewing leases"). A failure leaves the old one whole."""

from datetime import timedelta

from celery import shared_task

from models.claims import Claim
from models.results import Done
from models.states import SliverState
from tasks.newleases import SKEW, receipt
from tasks.step import perform
from tasks.workshop import Workshop, delegation, ended, facts


@shared_task(name="renew")
def renew(ids: list[int]) -> None:
    """These steps."""
    perform(ids, replace)


async def replace(claim: Claim, shop: Workshop) -> Done:
    """From generation n to n + 1; when the node is there already, that lease."""
    slice_, sliver = facts(claim)
    if sliver.state not in (SliverState.LEASED, SliverState.RUNNING) or sliver.expired or slice_.slice_id is None:
        raise ended(sliver)
    node = shop.node(claim, sliver)
    reply = await node.renew(slice_.name, slice_.slice_id, sliver.generation, delegation(claim, slice_))
    lease = receipt(reply, slice_, sliver, shop)
    asked = shop.store.clock.now() + timedelta(seconds=slice_.leaselen)
    detail: dict[str, object] = {
        "old": sliver.expires_at.isoformat() if sliver.expires_at else None,
        "new": lease.expires_at.isoformat(),
        "short": lease.expires_at < asked - timedelta(seconds=SKEW + shop.policy.step),
    }
    return Done(lease=reply.token, generation=lease.generation, expires_at=lease.expires_at, detail=detail)
