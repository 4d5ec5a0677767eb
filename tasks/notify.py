"""notify (beat): owners get a letter before autorenew or their leases end, once for each deadline."""

import logging
import smtplib
from email.message import EmailMessage
from urllib.parse import urlsplit

from celery import shared_task

from models.notices import Notice, announce, sent, to_send
from tasks.workshop import transaction, workshop

log = logging.getLogger(__name__)

SMTP_SECONDS = 10


@shared_task(name="notify")
def notify() -> None:
    """One look. A mail server that is away loses nothing: the letter is tried again."""
    transaction(announce)
    url = workshop().policy.smtp_url
    if not url:
        return
    for notice in transaction(to_send):
        try:
            _send(url, workshop().policy.mail_from, notice)
        except (OSError, smtplib.SMTPException) as error:
            log.warning("no letter about %s yet: %s", notice.name, type(error).__name__)
        else:
            transaction(sent, notice)


def letter(notice: Notice, sender: str) -> EmailMessage:
    """As it goes out."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, notice.owner.name, notice.subject
    # The same one again, should it have been sent without being written down.
    message["Message-ID"] = f"<{notice.slice}-{notice.about}-{notice.deadline:%s}-{notice.days}@dslice>"
    message.set_content(notice.body)
    return message


def _send(url: str, sender: str, notice: Notice) -> None:
    server = urlsplit(url)
    with smtplib.SMTP(server.hostname or "", server.port or 25, timeout=SMTP_SECONDS) as relay:
        relay.send_message(letter(notice, sender))
