"""replace: a node that failed for good gives way to another (createslice --replace, heal)."""

from celery import shared_task

from lifecycle.outcome import Claim, Done
from lifecycle.slices import lacking
from tasks.context import WorkerContext
from tasks.newtickets import slice_of, take
from tasks.step import perform


@shared_task(name="replace")
def replace(ids: list[int]) -> None:
    """These steps."""
    perform(ids, find_another)


async def find_another(claim: Claim, context: WorkerContext) -> Done:
    """One ticket on a node that the slice never had; the failed node's sliver is deleted from then on."""
    lack = await context.transaction(lacking, slice_of(claim).id)
    return await take(claim, context, 1, lack.known, lack.granted)
