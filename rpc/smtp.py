"""The mail server that letters are handed to, by its address alone.

smtp://relay.example.org:25              plain, or STARTTLS when the server offers it
smtp://user:password@relay.example.org   STARTTLS is demanded, then a login (RFC 3207, RFC 4954)
smtps://user:password@relay.example.org  TLS from the first byte (RFC 8314)
lmtp:///run/mail.sock                    LMTP at a UNIX socket (RFC 2033), for those who may open it
"""

import logging
import smtplib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from email.message import EmailMessage
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from rpc.fate import Fate
from rpc.tls import public_context

TIMEOUT = 15  # seconds for each word with the mail server
PORTS = {"smtp": 25, "smtps": 465}
PORT_WITH_LOGIN = 587
LOCAL = "lmtp"

Key = TypeVar("Key")

log = logging.getLogger(__name__)


def check_url(url: str) -> str:
    """The same address if letters could be sent to it; ValueError says what it should look like."""
    try:
        found = urlsplit(url)
        local = found.scheme == LOCAL and not found.netloc and len(found.path) > 1
        remote = found.scheme in PORTS and found.hostname and found.port != 0 and found.path in ("", "/")
    except ValueError:
        local = remote = False
    if not (local or remote):
        raise ValueError(
            f"{without_password(url)!r} is not smtp://[USER:PASSWORD@]HOST[:PORT], smtps://… or lmtp:///PATH"
        )
    return url


def without_password(url: str) -> str:
    """For logs and error lines."""
    login, at, server = url.rpartition("@")
    return f"{login.partition('://')[0]}://…@{server}" if at else url


def message(sender: str, recipient: str, subject: str, body: str, id: str, written_at: datetime) -> EmailMessage:
    """A letter as it goes out; sent twice it has the same ``id`` (the Message-ID without its brackets)."""
    written = EmailMessage()
    written["From"], written["To"], written["Subject"] = sender, recipient, subject
    written["Date"], written["Message-ID"], written["Auto-Submitted"] = written_at, f"<{id}>", "auto-generated"
    written.set_content(body)
    return written


@contextmanager
def relay(url: str) -> Iterator[smtplib.SMTP]:
    """A session with the mail server; OSError or smtplib.SMTPException when there is none."""
    server = urlsplit(url)
    user, password = unquote(server.username or ""), unquote(server.password or "")
    host = server.hostname or ""
    session: smtplib.SMTP
    if server.scheme == LOCAL:
        session = smtplib.LMTP(unquote(server.path), timeout=TIMEOUT)
    elif server.scheme == "smtps":
        session = smtplib.SMTP_SSL(host, server.port or PORTS["smtps"], timeout=TIMEOUT, context=public_context())
    else:
        session = smtplib.SMTP(host, server.port or (PORT_WITH_LOGIN if user else PORTS["smtp"]), timeout=TIMEOUT)
    with session:
        session.ehlo_or_helo_if_needed()
        if server.scheme == "smtp" and user:
            session.starttls(context=public_context())  # a password only to a server that proves its name
        if user:
            session.login(user, password)
        yield session


def hand_over(url: str, letters: Iterable[tuple[Key, Callable[[], EmailMessage]]]) -> Iterator[tuple[Key, Fate, str]]:
    """Each letter's key with its fate and the reason; what goes wrong with one keeps none of the others."""
    left = deque(letters)
    try:
        with ExitStack() as stack:
            session = stack.enter_context(relay(url))
            while left:
                if session.sock is None:  # it broke off at the letter before
                    session = stack.enter_context(relay(url))
                key, write = left[0]
                fate, reason = _hand_over(session, write)
                if fate is Fate.LATER:
                    _start_afresh(session)
                left.popleft()
                yield key, fate, reason
    except (OSError, smtplib.SMTPException) as error:
        log.warning("the mail server at %s accepts nothing: %s", without_password(url), error)
        for key, _ in left:
            yield key, Fate.UNTRIED, str(error)


def _hand_over(session: smtplib.SMTP, write: Callable[[], EmailMessage]) -> tuple[Fate, str]:
    try:
        session.send_message(write())
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        return _by_code(min(codes)), str(error)
    except smtplib.SMTPSenderRefused as error:
        return Fate.LATER, str(error)  # our own setting, which somebody will correct
    except smtplib.SMTPDataError as error:
        return _by_code(error.smtp_code), str(error)
    except (smtplib.SMTPNotSupportedError, ValueError) as error:
        return Fate.NEVER, str(error)  # an address that this server cannot take, or that is none
    except (OSError, smtplib.SMTPException) as error:
        return Fate.LATER, str(error)
    return Fate.SENT, ""


def _by_code(code: int) -> Fate:
    return Fate.NEVER if code >= 500 else Fate.LATER


def _start_afresh(session: smtplib.SMTP) -> None:
    """Nothing of a letter that went wrong may stick to the next: a session that does not obey is closed."""
    try:
        session.rset()
    except (OSError, smtplib.SMTPException):
        session.close()
