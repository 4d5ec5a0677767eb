"""notify (beat): owners get a letter before autorenew or their leases end, once for each deadline."""

import logging
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import partial

from celery import shared_task

from lifecycle.notices import Notice, announce, given_up, sent, to_send
from rpc.smtp import Fate, hand_over, message
from tasks.context import transaction, worker_context

log = logging.getLogger(__name__)


@shared_task(name="notify")
def notify() -> None:
    """One look. A mail server that is away loses nothing: the letter is tried again."""
    transaction(announce)
    url = worker_context().policy.smtp_url
    if not url:
        return
    notices = transaction(to_send)
    if not notices:
        return
    sender = worker_context().policy.mail_from
    for notice, fate, reason in hand_over(url, [(notice, partial(letter, notice, sender)) for notice in notices]):
        _record(notice, fate, reason)


def _record(notice: Notice, fate: Fate, reason: str) -> None:
    """What is refused for one letter alone does not keep the others from going out."""
    if fate is Fate.SENT:
        transaction(sent, notice)
    elif fate is Fate.NEVER:
        log.warning("no letter about %s, it is given up: %s", notice.name, reason)
        transaction(given_up, notice)
    elif fate is Fate.LATER:
        log.warning("no letter about %s yet: %s", notice.name, reason)


def letter(notice: Notice, sender: str) -> EmailMessage:
    """As it goes out."""
    id = f"{notice.slice}-{notice.about}-{int(notice.deadline.timestamp())}-{notice.days}@dslice"
    return message(sender, notice.owner.name, notice.subject, notice.body, id, datetime.now(UTC))
