"""Handshakes that break off at each stage, and those that show what another try will not change."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rpc import tls
from rpc.aio import Session
from rpc.credentials import Credentials
from tests.integration.rpc.lab import LOOPS, NODE, Scripted, answer, refused, scripted
from trust.errors import Code, Refusal

RECORD = 5  # bytes before each TLS record: its type, a version, its length
ALERT = b"\x15\x03\x03\x00\x02\x02"  # a fatal alert in the clear, but for its number
HANDSHAKE_FAILURE, CERTIFICATE_EXPIRED, PROTOCOL_VERSION, INTERNAL_ERROR, USER_CANCELED = 40, 45, 70, 80, 90

Cut = Callable[[list[bytes]], bytes]
"""What of the server's flight of records is sent."""

STAGES: dict[str, Cut] = {
    "nothing": lambda _flight: b"",
    "half a record's head": lambda flight: flight[0][:3],
    "half of ServerHello": lambda flight: flight[0][: RECORD + 20],
    "ServerHello": lambda flight: flight[0],
    "half of the certificate": lambda flight: b"".join(flight)[: len(b"".join(flight)) // 2],
    "all but a byte": lambda flight: b"".join(flight)[:-1],
    "the whole flight": b"".join,
    "half an alert": lambda _flight: ALERT,
}


def cuts(context: ssl.SSLContext, cut: Cut, *, reset: bool) -> Callable[[Scripted, Any], None]:
    """Takes the client's greeting, sends a part of its own flight, and closes or resets the connection."""

    def script(_server: Scripted, connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(connection.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        connection.sendall(cut(records(outgoing.read())))
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


def records(data: bytes) -> list[bytes]:
    """TLS records, each with its head."""
    found = []
    while data:
        length = RECORD + int.from_bytes(data[3:RECORD])
        found.append(data[:length])
        data = data[length:]
    return found


def says(data: bytes) -> Callable[[Scripted, Any], None]:
    """Takes the client's greeting, sends these bytes and closes once the client has."""

    def script(_server: Scripted, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        connection.recv(65536)

    return script


def resets_at_once(_server: Scripted, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("end", ["closed", "reset"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_breaks_off_may_be_over_at_the_next_try(
    node: Credentials, svm: Credentials, kind: str, stage: str, end: str
) -> None:
    context = tls.server_context(node)
    with scripted(cuts(context, STAGES[stage], reset=end == "reset"), None) as server:
        refusal = refused(kind, server.url, credentials=svm, expect=NODE)
    assert refusal.code is Code.UNREACHABLE
    assert server.place in refusal.reason


def test_a_reset_at_any_moment(svm: Credentials, kind: str) -> None:
    """It meets the client connecting, greeting or waiting; the last shows another error, asyncio's, inside it."""
    with scripted(resets_at_once, None) as server:
        codes = {refused(kind, server.url, credentials=svm, expect=NODE).code for _ in range(60)}
    assert codes == {Code.UNREACHABLE}


@pytest.mark.parametrize("loop", LOOPS)
def test_resets_close_nobody_elses_descriptors(svm: Credentials, loop: str) -> None:
    """Beside the calls a thread opens files, which must stay open until it closes them."""
    over, stolen = threading.Event(), list[OSError]()

    def open_files() -> None:
        while not over.is_set():
            handles = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
            time.sleep(0.0005)
            for handle in handles:
                try:
                    os.close(handle)
                except OSError as error:
                    stolen.append(error)

    async def ask(url: str) -> None:
        async with Session(svm) as session:
            for _ in range(1_000):
                with contextlib.suppress(Refusal):
                    await session.call("GET", url, expect=NODE)

    opener = threading.Thread(target=open_files)
    with scripted(resets_at_once, None) as server, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        opener.start()
        try:
            runner.run(ask(server.url))
        finally:
            over.set()
            opener.join()
    assert stolen == []


@pytest.mark.parametrize("number", [INTERNAL_ERROR, USER_CANCELED])
def test_a_server_that_says_it_broke_off(svm: Credentials, kind: str, number: int) -> None:
    with scripted(says(ALERT + bytes([number])), None) as server:
        assert refused(kind, server.url, credentials=svm, expect=NODE).code is Code.UNREACHABLE


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (ALERT + bytes([HANDSHAKE_FAILURE]), Code.WRONG_CERTIFICATE),
        (ALERT + bytes([PROTOCOL_VERSION]), Code.WRONG_CERTIFICATE),
        (ALERT + bytes([CERTIFICATE_EXPIRED]), Code.NOT_AUTHENTICATED),
        (answer(), Code.WRONG_CERTIFICATE),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Code.WRONG_CERTIFICATE),
        (b"220 mail.example ESMTP\r\n", Code.WRONG_CERTIFICATE),
    ],
    ids=["handshake failure", "version", "expired", "HTTP", "SSH", "SMTP"],
)
def test_what_a_server_shows_will_be_the_same_at_the_next_try(
    svm: Credentials, kind: str, said: bytes, code: Code
) -> None:
    with scripted(says(said), None) as server:
        assert refused(kind, server.url, credentials=svm, expect=NODE).code is code
