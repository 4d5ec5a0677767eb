"""Real mail servers: plain, STARTTLS with a login, TLS from the first byte."""

import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

from rpc.smtp import relay
from tests.integration.mailbox import Mailbox, mail_server
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.identity import Identity, Role


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "svm@example.org", "a@example.org", "Hello"
    message.set_content("there")
    return message


def send(url: str) -> None:
    with relay(url) as session:
        session.send_message(letter())


def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    given = isinstance(data, LoginPassword) and (data.login, data.password) == (b"me", b"p@ss word")
    return AuthResult(success=given, handled=False)


@dataclass(frozen=True)
class Pair:
    """A mail server's certificate, of a CA that this machine does not know unless SSL_CERT_FILE names its `root`."""

    context: ssl.SSLContext
    root: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("mail")
    authority, key = Authority.create(SystemClock().now()), new_private_key(Role.NODE)
    certificate = authority.issue(
        Identity(Role.NODE, "mail"), key.public_key(), now=SystemClock().now(), lifetime=3600, addresses=["127.0.0.1"]
    )
    (folder / "pair.pem").write_text(key_to_pem(key) + certificate_to_pem(certificate))
    (folder / "root.pem").write_text(certificate_to_pem(authority.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    return Pair(context, folder / "root.pem")


@pytest.fixture
def known(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.root))


@pytest.fixture
def with_login(pair: Pair) -> Iterator[tuple[Mailbox, str]]:
    options: dict[str, Any] = {"tls_context": pair.context, "require_starttls": True, "auth_required": True}
    with mail_server(**options, authenticator=authenticate) as found:
        yield found


def test_a_plain_relay() -> None:
    with mail_server() as (box, url):
        send(url)
    assert [found["Subject"] for found in box.letters] == ["Hello"]


@pytest.mark.usefixtures("known")
def test_starttls_and_a_login(with_login: tuple[Mailbox, str]) -> None:
    box, url = with_login
    send(url.replace("//", "//me:p%40ss%20word@"))
    assert len(box.letters) == 1
    with pytest.raises(smtplib.SMTPAuthenticationError):
        send(url.replace("//", "//me:wrong@"))


def test_no_password_for_a_server_that_nobody_vouches_for(with_login: tuple[Mailbox, str]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        send(with_login[1].replace("//", "//me:p%40ss%20word@"))


def test_no_password_without_tls() -> None:
    with mail_server() as (box, url), pytest.raises(smtplib.SMTPNotSupportedError):
        send(url.replace("//", "//me:pass@"))
    assert box.letters == []


@pytest.mark.usefixtures("known")
def test_tls_from_the_first_byte(pair: Pair) -> None:
    with mail_server(ssl_context=pair.context) as (box, url):
        send(url.replace("smtp:", "smtps:"))
    assert len(box.letters) == 1


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:1", "smtps://127.0.0.1:1", "lmtp:///nowhere/mail.sock"])
def test_none_there(url: str) -> None:
    with pytest.raises(OSError, match=r"refused|No such file"):
        send(url)
