"""deliver (beat): what is in the outbox goes out, letters to slices' owners and webhooks (docs/letters.md)."""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import partial

from celery import shared_task

from lifecycle.letters import body, deadline_of, subject
from lifecycle.links import LEASE, PATH, Link
from lifecycle.outbox import Delivery, came_to, take
from rpc.fate import Fate
from rpc.smtp import hand_over, message
from rpc.webhooks import Message, Sender
from tasks.context import transaction, worker_context
from trust.errors import Refusal

GOING_ON = 30  # seconds in which one look begins more webhooks; those that hang take half of it

log = logging.getLogger(__name__)


@shared_task(name="deliver")
def deliver() -> None:
    """One look. A server that is away loses nothing: what it does not take is tried again, later and later."""
    end, context = time.monotonic() + GOING_ON, worker_context()
    if context.policy.smtp_url:
        _letters(transaction(take, letters=True))
    while time.monotonic() < end and (told := transaction(take, letters=False)):
        context.run(_hooks(told))


def _letters(due: Sequence[Delivery]) -> None:
    if not due:
        return
    policy = worker_context().policy
    for one, fate, reason in hand_over(policy.smtp_url, [(one, partial(letter, one)) for one in due]):
        # What is refused for one letter alone does not keep the others from going out.
        _record(one, fate, reason)


def letter(one: Delivery) -> EmailMessage:
    """As it goes out."""
    written = body(one, _link(one))
    sender = worker_context().policy.mail_from
    return message(sender, one.owner.name, subject(one), written, f"{one.id}@dslice", datetime.now(UTC))


def _link(one: Delivery) -> str | None:
    """Of the page that extends the leases, where there is one and the owner has let svmd renew."""
    context = worker_context()
    if not context.policy.links_url or one.about != LEASE or not one.may_renew:
        return None
    word = Link(one.slice, deadline_of(one), int(one.body["days"])).signed(context.seal)
    return f"{context.policy.links_url.rstrip('/')}{PATH}{word}"


async def _hooks(told: Sequence[Delivery]) -> None:
    sender = Sender(worker_context().policy.hooks_allow)
    await asyncio.gather(*(_call(sender, one) for one in told))


async def _call(sender: Sender, one: Delivery) -> None:
    fate, reason, status = await _try(sender, one)
    await asyncio.to_thread(_record, one, fate, reason, status)


async def _try(sender: Sender, one: Delivery) -> tuple[Fate, str, int | None]:
    if one.hook is None or one.url is None or one.sealed_secret is None:
        raise RuntimeError("a delivery without its hook is a letter")
    try:
        secret = worker_context().seal.open(one.hook, one.sealed_secret)
    except Refusal as refusal:
        return Fate.LATER, refusal.reason, None
    return await sender.send(Message(one.url, str(one.id), secret, payload(one)))


def payload(one: Delivery) -> bytes:
    """The same bytes at every try."""
    told = {"slice": one.name, **one.body, **({"events": one.events} if one.events > 1 else {})}
    sent = {"type": f"slice.{one.about}", "timestamp": one.made_at.astimezone(UTC).isoformat(), "data": told}
    return json.dumps(sent, sort_keys=True).encode()


def _record(one: Delivery, fate: Fate, reason: str, status: int | None = None) -> None:
    to = one.url or one.owner.name
    if fate is Fate.NEVER:
        log.warning("%s is not told about %s, it is given up: %s", to, one.name, reason)
    elif fate is not Fate.SENT:
        log.warning("%s is not told about %s yet: %s", to, one.name, reason)
    transaction(came_to, one, fate, reason, status)
