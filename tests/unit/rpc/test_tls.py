"""What every context demands; the handshakes themselves are in the integration tests."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from rpc import tls
from rpc.credentials import KEY, ROOT, Credentials
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    now = datetime.now(UTC)
    authority, key = Authority.create(now), new_private_key(Role.NODE)
    certificate = authority.issue(Identity(Role.NODE, "n1"), key.public_key(), now=now, lifetime=60)
    made = Credentials(tmp_path)
    made.save(
        key_pem=key_to_pem(key),
        certificate_pem=certificate_to_pem(certificate),
        ca_pem=certificate_to_pem(authority.certificate),
    )
    return made


def test_contexts_are_strict(credentials: Credentials) -> None:
    required = tls.server_context(credentials)
    optional = tls.server_context(credentials, client_certificate="optional")
    client = tls.client_context(credentials)
    for context in (required, optional, client):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert len(context.get_ca_certs()) == 1
    assert required.verify_mode == client.verify_mode == ssl.CERT_REQUIRED
    assert optional.verify_mode == ssl.CERT_OPTIONAL
    assert client.check_hostname
    assert not client.hostname_checks_common_name
    assert required.num_tickets == 0


def test_a_client_without_any_ca() -> None:
    with pytest.raises(Refusal, match="plkeygen") as caught:
        tls.client_context(None)
    assert caught.value.code is Code.NOT_AUTHENTICATED


@pytest.mark.parametrize("root", ["", "hello", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "é"])
def test_a_root_that_is_none(credentials: Credentials, root: str) -> None:
    with pytest.raises(Refusal, match="root"):
        tls.client_context(None, ca_pem=root)
    (credentials.directory / ROOT).write_text(root)
    with pytest.raises(Refusal):
        tls.server_context(credentials)


def test_a_key_with_a_password_is_refused_without_asking(credentials: Credentials) -> None:
    locked = credentials.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (credentials.directory / KEY).write_bytes(locked)
    with pytest.raises(Refusal, match="password"):
        tls.client_context(credentials)


def test_without_memory_files(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)  # as on macOS
    tls.client_context(credentials)


def test_a_failed_reload_leaves_the_context_as_it_was(credentials: Credentials) -> None:
    context = tls.client_context(credentials)
    (credentials.directory / KEY).write_text(key_to_pem(new_private_key(Role.NODE)))
    with pytest.raises(Refusal):
        tls.reload(context, credentials)


def test_a_failed_handshake_stays_failed_and_ends(credentials: Credentials) -> None:
    """The server tells the client by an alert, then takes a few more pieces, never a call, and gives up."""
    arriving = ssl.MemoryBIO()
    server = tls.server_context(credentials).wrap_bio(arriving, ssl.MemoryBIO(), server_side=True)
    arriving.write(b"GET / HTTP/1.1\r\n\r\n")
    for _ in range(tls.MAX_WAITS):
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
    with pytest.raises(ssl.SSLError, match=r"(?i)request"):
        server.do_handshake()
