"""Servers that are slow, silent, broken or hostile, and what both clients say of them."""

import itertools
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from rpc import tls
from rpc.credentials import Credentials
from rpc.reply import MAX_BODY
from tests.integration.rpc.lab import HOST, NODE, Scripted, answer, call, refused, scripted
from trust.errors import Code, Refusal

Script = Callable[[Scripted, Any], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LOST = "was lost; what was asked may have been done, so ask again"


def says(*pieces: bytes) -> Script:
    """Reads a request, sends these bytes, and closes."""

    def script(server: Scripted, connection: Any) -> None:
        server.request(connection)
        for piece in pieces:
            connection.sendall(piece)

    return script


def drips(start: bytes, drop: bytes) -> Script:
    """Reads a request, and sends a piece now and then for ever."""

    def script(server: Scripted, connection: Any) -> None:
        server.request(connection)
        connection.sendall(start)
        while not server.over.wait(0.02):
            connection.sendall(drop)

    return script


def resets(*pieces: bytes) -> Script:
    def script(server: Scripted, connection: Any) -> None:
        says(*pieces)(server, connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(connection.detach())

    return script


def waits(server: Scripted, connection: Any) -> None:
    server.request(connection)
    server.over.wait(30)


def stays(server: Scripted, _connection: Any) -> None:
    server.over.wait(30)


def outcome(kind: str, node: Credentials, svm: Credentials, script: Script, **options: Any) -> Refusal:
    """The Refusal that a call to such a server ends with; it was asked once."""
    with scripted(script, tls.server_context(node)) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE, **options)
        assert server.place in refusal.reason
    # With a deadline, a busy machine may not even come to connect.
    assert server.connections == 1 or (options and server.connections == 0)
    return refusal


@pytest.mark.parametrize(
    "script",
    [
        says(),
        says(b"HTT"),
        says(HEAD),
        says(HEAD + b"\r\n{}"),
        says(HEAD + b'Content-Length: 20\r\n\r\n{"half": tr'),
        says(HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n'),
        says(HEAD + b'Transfer-Encoding: chunked\r\n\r\n9\r\n{"a":'),
        resets(),
        resets(HEAD + b'Content-Length: 20\r\n\r\n{"half": tr'),
    ],
    ids=[
        "nothing",
        "half a line",
        "half a head",
        "no length",
        "half a body",
        "chunks",
        "half a chunk",
        "reset",
        "reset in body",
    ],
)
def test_answers_that_break_off(kind: str, node: Credentials, svm: Credentials, script: Script) -> None:
    refusal = outcome(kind, node, svm, script)
    assert refusal.code is Code.UNREACHABLE
    assert refusal.reason.endswith(LOST)


@pytest.mark.parametrize(
    "script",
    [
        waits,
        drips(b"HTTP/1.1 200 ", b"O"),
        drips(HEAD, b"X-More: 1\r\n"),
        drips(HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "line", "head", "body", "chunks", "continue"],
)
def test_answers_that_take_too_long(kind: str, node: Credentials, svm: Credentials, script: Script) -> None:
    refusal = outcome(kind, node, svm, script, deadline=0.25)
    assert refusal.code is Code.TIMEOUT
    assert "within 0.25 s" in refusal.reason


@pytest.mark.parametrize(
    "script",
    [
        says(b"220 mail.example ESMTP\r\n"),
        says(b"HTTP/1.1 2x0 OK\r\n\r\n"),
        says(HEAD + b"Content-Length: 2x\r\n\r\n{}"),
        says(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        says(HEAD + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n"),
        says(HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(300)) + b"\r\n"),
        says(answer(b"<html>hello</html>")),
        says(answer(b'{"a": 1')),
        says(answer(b'"text"')),
        says(b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\n{}"),
    ],
    ids=["mail", "status", "length", "chunk", "long", "many", "html", "half json", "text", "redirect"],
)
def test_answers_that_make_no_sense(kind: str, node: Credentials, svm: Credentials, script: Script) -> None:
    refusal = outcome(kind, node, svm, script)
    if refusal.code is Code.UNREACHABLE:  # a body whose framing is broken may look broken off
        assert refusal.reason.endswith(LOST)
    else:
        assert refusal.code is Code.INTERNAL
        assert "no sense" in refusal.reason


def _flood(server: Scripted, connection: Any) -> None:
    server.request(connection)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for _ in range(2 * MAX_BODY // 0x10000):
        connection.sendall(piece)


def _announces(server: Scripted, connection: Any) -> None:
    server.request(connection)
    connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (2 * MAX_BODY))
    for _ in range(2 * MAX_BODY // 0x10000):
        connection.sendall(b" " * 0x10000)


@pytest.mark.parametrize("script", [_flood, _announces])
def test_answers_that_are_too_long(kind: str, node: Credentials, svm: Credentials, script: Script) -> None:
    refusal = outcome(kind, node, svm, script)
    assert refusal.code is Code.INTERNAL
    assert str(MAX_BODY) in refusal.reason


def test_a_long_answer_that_is_not_too_long(kind: str, node: Credentials, svm: Credentials) -> None:
    body = b"[" + b" " * (MAX_BODY - 2) + b"]"
    with scripted(says(answer(body)), tls.server_context(node)) as server:
        assert call(kind, server.url, credentials=svm, expect=NODE).body == []


def test_nobody_listens(kind: str, svm: Credentials) -> None:
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
    refusal = refused(kind, f"https://{HOST}:{port}", credentials=svm, expect=NODE)
    assert refusal.code is Code.UNREACHABLE
    assert refusal.reason == f"connection refused by {HOST}:{port}; is the node up?"


def test_a_name_that_is_unknown(kind: str, svm: Credentials) -> None:
    refusal = refused(kind, "https://nowhere.invalid:1", credentials=svm, expect=NODE)
    assert refusal.code is Code.UNREACHABLE
    assert "nowhere.invalid:1" in refusal.reason


def test_a_server_that_does_not_shake_hands(kind: str, svm: Credentials) -> None:
    with scripted(stays, None) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE, connect_timeout=0.2, deadline=5)
    assert refusal.code is Code.TIMEOUT
    assert refusal.reason.startswith(f"no connection to {server.place} within 0.2 s")


def test_the_deadline_holds_for_connecting_too(kind: str, svm: Credentials) -> None:
    with scripted(stays, None) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE, deadline=0.2)
    assert refusal.code is Code.TIMEOUT
    assert "within 0.2 s" in refusal.reason


def _once_then(then: Script) -> tuple[Script, list[int]]:
    """The first connection answers once, and does ``then`` to its second request; later ones answer properly."""
    numbers, asked = itertools.count(), list[int]()

    def script(server: Scripted, connection: Any) -> None:
        number = next(numbers)
        while server.request(connection):
            asked.append(number)
            if number == 0 and asked.count(0) == 2:
                return then(server, connection)
            connection.sendall(answer())
        return None

    return script, asked


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_kept_connection_that_closed_meanwhile(
    kind: str, node: Credentials, svm: Credentials, method: str, reset: bool
) -> None:
    def close(_server: Scripted, connection: Any) -> None:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.close(connection.detach())

    script, asked = _once_then(close)
    with scripted(script, tls.server_context(node)) as server:
        reply = call(kind, server.url, "/", method, credentials=svm, expect=NODE, times=2)
    assert reply.body == {"ok": True}
    assert asked == [0, 0, 1]


def test_it_is_repeated_once_only(kind: str, node: Credentials, svm: Credentials) -> None:
    def script(server: Scripted, connection: Any) -> None:
        if server.connections == 1:
            server.request(connection)
            connection.sendall(answer())
        server.request(connection)

    with scripted(script, tls.server_context(node)) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE, times=2)
    assert refusal.reason.endswith(LOST)
    assert server.connections == 2


@pytest.mark.parametrize("start", [b"H", HEAD + b"Content-Length: 9\r\n\r\n{"])
def test_it_is_not_repeated_once_a_byte_came(kind: str, node: Credentials, svm: Credentials, start: bytes) -> None:
    script, asked = _once_then(lambda _server, connection: connection.sendall(start))
    with scripted(script, tls.server_context(node)) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE, times=2)
    assert refusal.reason.endswith(LOST)
    assert asked == [0, 0]


def test_it_is_not_repeated_after_the_deadline(kind: str, node: Credentials, svm: Credentials) -> None:
    script, asked = _once_then(stays)
    with scripted(script, tls.server_context(node)) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE, times=2, deadline=0.5)
        assert refusal.code is Code.TIMEOUT
    assert asked == [0, 0]
