"""The mail server that letters are handed to, by its address alone.

smtp://relay.example.org:25              plain, or STARTTLS when the server offers it
smtp://user:password@relay.example.org   STARTTLS is demanded, then a login (RFC 3207, RFC 4954)
smtps://user:password@relay.example.org  TLS from the first byte (RFC 8314)
"""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from rpc.tls import public_context

TIMEOUT = 15  # seconds for each word with the mail server
PORTS = {"smtp": 25, "smtps": 465}
PORT_WITH_LOGIN = 587


def check_url(url: str) -> str:
    """The same address if letters could be sent to it; ValueError says what it should look like."""
    try:
        found = urlsplit(url)
        usable = found.scheme in PORTS and found.hostname and found.port != 0 and found.path in ("", "/")
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{without_password(url)!r} is not smtp://[USER:PASSWORD@]HOST[:PORT] or smtps://…")
    return url


def without_password(url: str) -> str:
    """For logs and error lines."""
    login, at, server = url.rpartition("@")
    return f"{login.partition('://')[0]}://…@{server}" if at else url


@contextmanager
def relay(url: str) -> Iterator[smtplib.SMTP]:
    """A session with the mail server; OSError or smtplib.SMTPException when there is none."""
    server = urlsplit(url)
    user, password = unquote(server.username or ""), unquote(server.password or "")
    host = server.hostname or ""
    if server.scheme == "smtps":
        session: smtplib.SMTP = smtplib.SMTP_SSL(
            host, server.port or PORTS["smtps"], timeout=TIMEOUT, context=public_context()
        )
    else:
        session = smtplib.SMTP(host, server.port or (PORT_WITH_LOGIN if user else PORTS["smtp"]), timeout=TIMEOUT)
    with session:
        session.ehlo_or_helo_if_needed()
        if server.scheme == "smtp" and user:
            session.starttls(context=public_context())  # a password only to a server that proves its name
        if user:
            session.login(user, password)
        yield session
