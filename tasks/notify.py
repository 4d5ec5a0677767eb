"""notify (beat): owners get a letter before autorenew or their leases end, once for each deadline."""

import logging
import smtplib
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from celery import shared_task

from models.notices import Notice, announce, sent, to_send
from rpc.smtp import relay, without_password
from tasks.workshop import transaction, workshop

log = logging.getLogger(__name__)


@shared_task(name="notify")
def notify() -> None:
    """One look. A mail server that is away loses nothing: the letter is tried again."""
    transaction(announce)
    url = workshop().policy.smtp_url
    if not url:
        return
    notices = transaction(to_send)
    if not notices:
        return
    try:
        with relay(url) as session:
            for notice in notices:
                _send(session, notice)
    except (OSError, smtplib.SMTPException) as error:
        log.warning("the mail server at %s takes nothing: %s", without_password(url), error)


def _send(session: smtplib.SMTP, notice: Notice) -> None:
    """One letter; what is refused for this one alone does not keep the others from going out."""
    try:
        session.send_message(letter(notice, workshop().policy.mail_from))
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        log.warning("no letter about %s yet: %s", notice.name, error)
    else:
        transaction(sent, notice)


def letter(notice: Notice, sender: str) -> EmailMessage:
    """As it goes out."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, notice.owner.name, notice.subject
    # The same one again, should it have been sent without being written down.
    message["Message-ID"] = f"<{notice.slice}-{notice.about}-{int(notice.deadline.timestamp())}-{notice.days}@dslice>"
    message["Date"], message["Auto-Submitted"] = format_datetime(datetime.now(UTC)), "auto-generated"
    message.set_content(notice.body)
    return message
