"""Who gets a connection, with real TLS on loopback, and what is said to who does not."""

import hashlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI

from rpc import tls
from rpc.blocking import Connection
from rpc.credentials import Credentials
from rpc.server import Guard, Listener, PeerProtocol
from tests.integration.rpc.conftest import make_app
from tests.integration.rpc.lab import (
    HOST,
    LOOPS,
    NODE,
    OTHER_NODE,
    SVM,
    Lab,
    Scripted,
    answer,
    call,
    refused,
    scripted,
    serving,
)
from trust.errors import Code
from trust.identity import Identity, Role


@pytest.fixture(scope="module")
def other_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("other"))


def greet(server: Scripted, connection: Any) -> None:
    while server.request(connection):
        connection.sendall(answer())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call(lab: Lab, node: Credentials, svm: Credentials, app: FastAPI, kind: str, loop: str) -> None:
    with serving(lab.listener(app, node), loop=loop) as (url,):
        assert call(kind, url, credentials=svm, expect=NODE).body == {"who": SVM.uri}


class ShowsPeer:
    """An app without a framework: the digest of what PeerProtocol put into the scope."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        der = scope["dslice.peer"]
        body = f'["{hashlib.sha256(der).hexdigest() if der else None}"]'.encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("loop", LOOPS)
def test_the_scope_holds_the_peers_certificate(lab: Lab, node: Credentials, svm: Credentials, loop: str) -> None:
    """Pins what rpc/connection.py relies on in uvicorn, asyncio and uvloop."""
    expected = hashlib.sha256(svm.certificate.public_bytes(Encoding.DER)).hexdigest()
    listeners = [
        lab.listener(ShowsPeer(), node),
        lab.listener(ShowsPeer(), node, client_certificate="optional"),
        Listener(ShowsPeer(), HOST, 0, None),
    ]
    with serving(*listeners, loop=loop) as (required, optional, plain):
        assert call("aio", required, credentials=svm, expect=NODE, times=2).body == [expected]
        assert call("aio", optional, credentials=svm, expect=NODE).body == [expected]
        assert call("aio", optional, credentials=None, ca_pem=lab.root_pem, expect=NODE).body == ["None"]
        with socket.create_connection((HOST, int(plain.rpartition(":")[2]))) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b'["None"]' in raw.makefile("rb").read()
    own = {name for name in vars(PeerProtocol) if not name.startswith("__")}
    assert own == {"connection_made", "on_message_begin", "on_response_complete"}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("case", ["none", "other ca", "expired", "not yet valid"])
def test_clients_that_get_no_connection(
    lab: Lab, other_lab: Lab, node: Credentials, app: FastAPI, kind: str, loop: str, case: str
) -> None:
    cases: dict[str, Callable[[], tuple[Credentials | None, str]]] = {
        "none": lambda: (None, "demands a certificate"),
        "other ca": lambda: (other_lab.credentials(SVM), "unknown ca"),
        "expired": lambda: (lab.credentials(SVM, start=-7200, lifetime=60), "expired"),
        "not yet valid": lambda: (lab.credentials(SVM, start=7200), "bad certificate"),
    }
    credentials, word = cases[case]()
    with serving(lab.listener(app, node), loop=loop) as (url,):
        for _ in range(2):
            refusal = refused(kind, url, credentials=credentials, ca_pem=lab.root_pem, expect=NODE)
            assert refusal.code is Code.NOT_AUTHENTICATED
            assert word in refusal.reason
            assert "plkeygen" in refusal.reason
    assert app.state.connections == set()


def test_without_a_certificate_where_it_is_optional(lab: Lab, node: Credentials, app: FastAPI, kind: str) -> None:
    with serving(lab.listener(app, node, client_certificate="optional")) as (url,):
        nobody: Any = {"credentials": None, "ca_pem": lab.root_pem, "expect": NODE}
        assert call(kind, url, "/open", **nobody).status == 200
        assert refused(kind, url, "/who", **nobody).code is Code.NOT_AUTHENTICATED
        bad = lab.credentials(SVM, start=-7200, lifetime=60)
        assert refused(kind, url, "/open", credentials=bad, expect=NODE).code is Code.NOT_AUTHENTICATED


def test_a_refused_client_cannot_go_on(lab: Lab, node: Credentials, app: FastAPI) -> None:
    """After the alert the server takes nothing more, and forgets the connection."""
    context = tls.client_context(None, ca_pem=lab.root_pem)
    with (
        serving(lab.listener(app, node)) as (url,),
        socket.create_connection((HOST, int(url.rpartition(":")[2]))) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        connection.settimeout(20)
        with pytest.raises(OSError, match=r"(?i)alert|reset|pipe"):
            keep_asking(connection)
    assert app.state.connections == set()


def keep_asking(connection: ssl.SSLSocket) -> None:
    while True:
        connection.sendall(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536) == b""


def test_older_tls_gets_no_connection(lab: Lab, node: Credentials, svm: Credentials, app: FastAPI, kind: str) -> None:
    old = tls.client_context(svm)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(lab.listener(app, node)) as (url,):
        port = int(url.rpartition(":")[2])
        with socket.create_connection((HOST, port)) as plain, pytest.raises(ssl.SSLError, match=r"(?i)version"):
            old.wrap_socket(plain, server_hostname=HOST)
    context = tls.server_context(node)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with scripted(greet, context) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE)
    assert refusal.code is Code.WRONG_CERTIFICATE
    assert "TLS 1.3" in refusal.reason


@pytest.mark.parametrize("case", ["other ca", "expired", "not yet valid", "address", "user", "identity", "role"])
def test_servers_that_get_no_request(lab: Lab, other_lab: Lab, svm: Credentials, kind: str, case: str) -> None:
    cases: dict[str, Callable[[], tuple[Credentials, str]]] = {
        "other ca": lambda: (other_lab.credentials(NODE), "not plc's"),
        "expired": lambda: (lab.credentials(NODE, start=-7200, lifetime=60), "expired"),
        "not yet valid": lambda: (lab.credentials(NODE, start=7200), "not valid yet"),
        "address": lambda: (lab.credentials(NODE, ["127.0.0.2", "localhost"]), "another address"),
        "user": lambda: (lab.credentials(Identity.user("mallory@lab.example")), "not plc's"),
        "identity": lambda: (lab.credentials(OTHER_NODE), f"is {OTHER_NODE}, not {NODE}"),
        "role": lambda: (lab.credentials(Identity(Role.AGENT, NODE.name)), f"not {NODE}"),
    }
    shown, word = cases[case]()
    context = tls.server_context(shown)
    context.verify_mode = ssl.CERT_NONE
    with scripted(greet, context) as server:
        refusal = refused(kind, server.url, "/who", "PUT", json={"secret": 1}, credentials=svm, expect=NODE)
    assert refusal.code is Code.WRONG_CERTIFICATE
    assert word in refusal.reason
    assert server.received == b""


def test_any_identity_if_none_is_expected(lab: Lab, node: Credentials, svm: Credentials) -> None:
    with (
        scripted(greet, tls.server_context(node)) as server,
        Connection(server.url, credentials=svm) as connection,
    ):
        assert connection.call("GET", "/").body == {"ok": True}


def test_a_server_without_tls(svm: Credentials, kind: str) -> None:
    with scripted(lambda server, connection: connection.sendall(answer()), None) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE)
    assert refusal.code is Code.WRONG_CERTIFICATE


def test_guards_over_tls(lab: Lab, node: Credentials, svm: Credentials, url: str, kind: str) -> None:
    assert refused(kind, url, "/agents-only", credentials=svm, expect=NODE).code is Code.NOT_ALLOWED
    revoking = make_app(Guard(lab.store(svm.certificate.serial_number)))
    stale = make_app(Guard(lab.store(age=400)))
    with serving(lab.listener(revoking, node), lab.listener(stale, node)) as (revoked, old):
        assert refused(kind, revoked, credentials=svm, expect=NODE).code is Code.REVOKED
        change: Any = {"path": "/change", "method": "PUT", "json": {"a": 1}, "credentials": svm, "expect": NODE}
        assert refused(kind, old, **change).code is Code.CRL_STALE
        assert call(kind, url, **change).body == {"a": 1}


def test_headers_do_not_say_who_the_client_is(lab: Lab, svm: Credentials, url: str, kind: str) -> None:
    forged = {"X-Forwarded-For": "10.1.1.1", "X-Forwarded-Proto": "http"}
    reply = call(kind, url, "/open", headers=forged, credentials=svm, expect=NODE)
    assert reply.body == {"client": HOST, "scheme": "https"}


def test_renewed_certificates_are_shown_on_new_connections(lab: Lab, app: FastAPI, tmp_path: Path) -> None:
    node, svm = lab.credentials(NODE), lab.credentials(SVM)
    context = tls.server_context(node)

    def shown(url: str) -> int:
        port = int(url.rpartition(":")[2])
        with (
            socket.create_connection((HOST, port)) as plain,
            tls.client_context(svm).wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            return int(str((connection.getpeercert() or {})["serialNumber"]), 16)

    with serving(Listener(app, HOST, 0, context)) as (url,), Connection(url, credentials=svm, expect=NODE) as standing:
        standing.call("GET", "/open")
        before, renewed = shown(url), lab.renew(node)
        assert before != renewed
        assert shown(url) == before
        tls.reload(context, node)
        assert shown(url) == renewed
        standing.call("GET", "/open")
        assert len(app.state.connections) == 1
