"""Bounds: requests too large, too slow or that never come."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from rpc import tls
from rpc.aio import Session
from rpc.blocking import Connection
from rpc.body_limit import MAX_BODY
from rpc.connection import MAX_HEAD
from rpc.credentials import Credentials
from tests.integration.rpc.lab import HOST, NODE, SVM, Lab, call, refused, serving
from trust.errors import Code


@pytest.fixture
def opened(lab: Lab, node: Credentials, app: FastAPI) -> Iterator[Any]:
    """Connects without a certificate: gives a function that opens a TLS connection."""
    context = tls.client_context(None, ca_pem=lab.root_pem)
    with contextlib.ExitStack() as stack:
        (url,) = stack.enter_context(serving(lab.listener(app, node, client_certificate="optional")))

        def connect() -> Any:
            plain = socket.create_connection((HOST, int(url.rpartition(":")[2])), 10)
            return stack.enter_context(context.wrap_socket(plain, server_hostname=HOST))

        yield connect


def tell(connection: Any, *pieces: bytes) -> bytes:
    """Everything that the server says to that, until it closes the connection; TimeoutError if it does not."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        for piece in pieces:
            connection.sendall(piece)
    said = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65536):
            said += piece
    return said


GET = b"GET /open HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [GET + b"X-Long: " + b"x" * MAX_HEAD + b"\r\n\r\n"],
        [GET, *[b"X-Many: 1\r\n"] * (MAX_HEAD // 7), b"\r\n"],
        [GET + b"X-Endless: ", *[b"x" * 1000] * (MAX_HEAD // 1000 + 1)],
        [b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [GET + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n" * 10_000] * 10],
        [GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ", *[b"x" * 65_536] * 10],
        [b"\x00\x01 nonsense\r\n\r\n"],
    ],
    ids=["header", "headers", "endless", "path", "tiny chunks", "trailer", "nonsense"],
)
def test_requests_that_are_too_large(
    opened: Any, app: FastAPI, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.connection.MAX_MESSAGE", 500_000)
    assert not tell(opened(), *pieces).startswith(b"HTTP/1.1 200")
    assert app.state.connections == set()


def test_a_head_just_small_enough(opened: Any) -> None:
    head = GET + b"Connection: close\r\nX-Long: " + b"x" * (MAX_HEAD - 100) + b"\r\n\r\n"
    assert tell(opened(), head).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("pieces", [[], [GET], [GET + b"Connection: keep-alive\r\n\r\n", GET]])
def test_heads_that_do_not_come(opened: Any, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr("rpc.connection.HEAD_SECONDS", 0.5)
    said = tell(opened(), *pieces)
    assert said.count(b"HTTP/1.1 200") == max(0, len(pieces) - 1)


def test_a_connection_that_stays_idle(
    lab: Lab, node: Credentials, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.server.KEEP_ALIVE", 0.2)
    context = tls.client_context(None, ca_pem=lab.root_pem)
    with (
        serving(lab.listener(app, node, client_certificate="optional")) as (url,),
        socket.create_connection((HOST, int(url.rpartition(":")[2])), 10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        assert tell(connection, GET + b"\r\n").startswith(b"HTTP/1.1 200")


def test_a_handshake_that_does_not_come(
    lab: Lab, node: Credentials, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.acceptor.HANDSHAKE", 0.2)
    with (
        serving(lab.listener(app, node)) as (url,),
        socket.create_connection((HOST, int(url.rpartition(":")[2])), 10) as plain,
    ):
        assert tell(plain) == b""


def test_what_is_counted_is_one_request(
    kind: str, url: str, svm: Credentials, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.connection.MAX_MESSAGE", 2 * MAX_HEAD)
    big = {"x" * MAX_HEAD: 1}

    async def aio() -> None:
        async with Session(svm) as session:
            for _ in range(3):
                await session.call("PUT", url + "/change", json=big, expect=NODE)

    if kind == "aio":
        asyncio.run(aio())
    else:
        with Connection(url, credentials=svm, expect=NODE) as connection:
            for _ in range(3):
                connection.call("PUT", "/change", big)
    assert len(app.state.connections) == 1


def test_a_body_that_is_too_large(kind: str, url: str, svm: Credentials) -> None:
    """Clients do not send what servers refuse."""
    wish = {"x" * (MAX_BODY - len('{"": 1}')): 1}
    assert call(kind, url, "/change", "PUT", json=wish, credentials=svm, expect=NODE).status == 200
    refusal = refused(kind, url, "/change", "PUT", json={**wish, "y": 1}, credentials=svm, expect=NODE)
    assert refusal.code is Code.BAD_INPUT
    assert str(MAX_BODY) in refusal.reason


@pytest.mark.parametrize("size", [MAX_BODY + 1, 4 * MAX_BODY])
def test_a_body_that_is_too_large_for_the_server(opened: Any, size: int) -> None:
    head = f"PUT /change HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    said = tell(opened(), head, b"x" * size)
    assert said.startswith(b"HTTP/1.1 413")
    assert b'"bad-input"' in said


def test_a_body_that_does_not_come(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc.body_limit.BODY_SECONDS", 0.2)
    said = tell(opened(), b"PUT /change HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
    assert said.startswith(b"HTTP/1.1 408")


def test_connections_that_stall_are_cut(lab: Lab, node: Credentials, app: FastAPI) -> None:
    """The option is on the listening socket, and accepted ones inherit it (Linux)."""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("Linux only")
    seen = list[int]()

    async def look(scope: Any, receive: Any, send: Any) -> None:
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(descriptor))) as one:
                if one.type == socket.SOCK_STREAM and one.getsockname() == scope["server"]:
                    seen.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with serving(lab.listener(look, node)) as (url,):
        call("aio", url, credentials=lab.credentials(SVM), expect=NODE)
    assert seen
    assert set(seen) == {60_000}


@pytest.mark.parametrize("hosts", [b"", b"Host: x\r\nHost: x\r\n", b"Host: x y\r\n"])
def test_one_host_no_less_and_no_more(opened: Any, hosts: bytes) -> None:
    """RFC 9112, 3.2."""
    said = tell(opened(), b"GET /open HTTP/1.1\r\n" + hosts + b"\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"bad-input" in said
