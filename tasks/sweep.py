"""sweep (beat): publishes again what is due and unheld, and refills windows. With it no step is ever lost."""

import logging

from celery import shared_task

from lifecycle.recovery import refill, refillable, republish
from tasks.context import transaction, worker_context
from tasks.metrics import SWEPT
from tasks.publish import publish

log = logging.getLogger(__name__)


@shared_task(name="sweep")
def sweep() -> None:
    """One look; what it finds was lost with a message, a worker or a queue, or has finished backing off."""
    recover(worker_context().policy.publish_again)


def recover(again: int) -> None:
    """Publish what is due and unheld, and was published more than `again` seconds ago.

    Raises sqlalchemy.exc.SQLAlchemyError while PostgreSQL is away.
    """
    refs, lapsed = transaction(republish, again)
    operations = transaction(refillable)
    refilled = transaction(refill, operations) if operations else []
    SWEPT.labels("claimed").inc(lapsed)
    SWEPT.labels("released").inc(len(refs) - lapsed)
    if refs:
        log.warning("sweep found %d due steps that nobody held, %d of them with lapsed claims", len(refs), lapsed)
    publish([*refs, *refilled])
