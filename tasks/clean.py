"""clean (beat): `svm clean` for everyone, and what has run out or ended by itself is written down."""

import time

from celery import shared_task

from lifecycle.deletion import outlive
from lifecycle.operations import BEAT, OperationRequest, Plan, StepRef, Verb, open_planned
from lifecycle.retention import forget, purge, unreleased
from lifecycle.transitions import expire
from models.states import Kind
from tasks.context import transaction, worker_context
from tasks.publish import publish
from trust.identity import Identity

FORGETTING = 60  # seconds in one look: far more than a day's operations need, shared over the day's looks


@shared_task(name="clean")
def clean() -> None:
    """One look. Times are compared by the database's clock alone."""
    transaction(expire)
    transaction(outlive, worker_context().policy.grace)
    transaction(purge, None)
    forget_all()
    refs: list[StepRef] = []
    for slice_row, name, owner in transaction(unreleased):
        request = OperationRequest(Verb.RELEASE, "", Identity.parse(owner), actor=BEAT)
        plan = Plan(slice_row, name, ((Kind.RELEASE, None),))
        refs += transaction(open_planned, request, plan)
    publish(refs)


def forget_all() -> None:
    """All that is history for long, a few rows in each transaction; what is left after a while, the next look takes."""
    end = time.monotonic() + FORGETTING
    while transaction(forget, worker_context().policy.history_days) and time.monotonic() < end:
        pass
