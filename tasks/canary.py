"""canary: a step without work goes the whole way through queue and workers, so that a stuck one is noticed."""

import logging

from celery import shared_task
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from lifecycle.operations import BEAT, OperationRequest, Plan, StepRef, Verb, open_planned
from lifecycle.outcome import Claim, Done
from models.states import Kind
from tasks.context import WorkerContext, transaction, worker_context
from tasks.publish import publish
from tasks.step import perform
from trust.identity import Identity

log = logging.getLogger(__name__)


@shared_task(name="canary-all")
def canary_all() -> None:
    """For beat: one canary, unless the last has not come back yet."""
    publish(transaction(begin, worker_context().identity))


@shared_task(name="canary")
def canary(ids: list[int]) -> None:
    """These steps."""
    perform(ids, pass_through)


def begin(connection: Connection, svm: Identity, actor: str = BEAT) -> list[StepRef]:
    """Open an operation with one step; nothing when the last is open. Beat's own are how beat is seen to live."""
    attempt = connection.begin_nested()
    try:
        request = OperationRequest(Verb.CANARY, "", svm, actor=actor)
        refs = open_planned(connection, request, Plan(None, "", ((Kind.CANARY, None),)))
    except IntegrityError:
        attempt.rollback()
        log.warning("the last canary has not come back yet")
        return []
    attempt.commit()
    return refs


async def pass_through(claim: Claim, context: WorkerContext) -> Done:
    """Nothing."""
    del claim, context
    return Done()
