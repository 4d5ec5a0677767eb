"""autorenew (beat): slices whose owner wants it renew themselves past two thirds of their leases.

svmd acts with its own certificate and the owner's signed standing delegation, which nodes verify; nothing else lets it.
"""

import logging

from celery import shared_task
from sqlalchemy import Connection

from lifecycle.notices import autorenew_ended
from lifecycle.operations import BEAT, OperationRequest, StepRef, Verb, lock_named, start
from lifecycle.renewal import Due, Over, due, over
from tasks.context import transaction, worker_context
from tasks.publish import publish
from trust.documents import verify_delegation
from trust.errors import Code, Refusal

log = logging.getLogger(__name__)

PARALLELISM = 64
CONNECT_TIMEOUT = 10  # seconds
# The owner or his permission is gone: no later try will do better.
ENDED = (Code.REVOKED, Code.NOT_ALLOWED, Code.NOT_AUTHENTICATED, Code.BAD_INPUT)


@shared_task(name="autorenew")
def autorenew() -> None:
    """One look for slices that are due, and for those that must stop."""
    for stopped in transaction(over):
        switch_off(stopped)
    refs: list[StepRef] = []
    for found in transaction(due):
        refs += _renew(found)
    publish(refs)


def _renew(found: Due) -> list[StepRef]:
    context = worker_context()
    try:
        verify_delegation(found.standing, store=context.store, audience=context.identity)
    except Refusal as refusal:
        if refusal.code in ENDED:
            _switch_off(found, f"autorenew ended: {refusal.reason}")
        return []
    request = OperationRequest(
        Verb.RENEWSLICE,
        found.name,
        found.owner,
        nodes=found.nodes,
        parallelism=PARALLELISM,
        connect_timeout=CONNECT_TIMEOUT,
        actor=BEAT,
    )
    try:
        return transaction(start, request).publish
    except Refusal as refusal:  # another operation was faster; the next look finds what is still due
        log.info("%s is not renewed now: %s", found.name, refusal.reason)
        return []


def switch_off(stopped: Over) -> None:
    """Write down that it is over, and why."""
    _switch_off(stopped, stopped.reason)


def _switch_off(found: Due | Over, reason: str) -> None:
    try:
        transaction(_off, found, reason)
    except Refusal as refusal:
        log.info("autorenew of %s is not switched off: %s", found.name, refusal.reason)


def _off(connection: Connection, found: Due | Over, reason: str) -> None:
    """With the letter to its owner, in one transaction; not if he has changed it meanwhile."""
    row = lock_named(connection, found.name)
    if row is None or row.id != found.slice or not found.still_holds(row):
        return
    start(
        connection, OperationRequest(Verb.AUTORENEW, found.name, found.owner, autorenew=False, actor=BEAT, note=reason)
    )
    autorenew_ended(connection, found.slice)
