"""notify (beat): what owners are told before autorenew or their leases end is written into the outbox, once each."""

from celery import shared_task

from lifecycle.notices import announce
from tasks.context import transaction


@shared_task(name="notify")
def notify() -> None:
    """One look; `deliver` sends it."""
    transaction(announce)
