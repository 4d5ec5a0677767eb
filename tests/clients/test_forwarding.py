"""Ports and socket files: from here to the sliver, and from the sliver to here."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.client import Door
from tests.clients.differences import OTHER_ADDRESSES, OTHERS_PORTS
from tests.clients.doing import answers, done, free_port, going_on, tried
from tests.clients.table import who
from tests.integration.frontdoor.test_forwarding import fetch, service
from tests.integration.frontdoor.test_streams import eventually

# Says what it hears in capitals, to one after the other.
ECHO = (
    "import socket, sys; s = socket.socket(getattr(socket, sys.argv[1]));"
    " s.bind(sys.argv[2] if sys.argv[1] == 'AF_UNIX' else ('127.0.0.1', 0)); s.listen();"
    " print(s.getsockname(), flush=True)\n"
    "while True:\n c, _ = s.accept()\n with c: c.sendall(c.recv(100).upper())"
)


@contextlib.contextmanager
def inside(door: Door, family: str, place: str = "") -> Iterator[str]:
    """A server inside; what it says of its address."""
    with door.node.start(f'rm -f {place}; exec python3 -c "{ECHO}" {family} {place}') as process:
        yield process.stdout.readline().decode().strip()


@pytest.fixture
def port(door: Door) -> Iterator[int]:
    """Of a server inside."""
    with inside(door, "AF_INET") as address:
        yield int(address.strip("()").split(", ")[1])


@who("dial")
def test_to_a_port_inside(client: Any, door: Door, port: int) -> None:
    assert done(client.dial(door, "localhost", port), b"tide") == b"TIDE"


@who("dial")
def test_to_a_port_that_is_not_the_slivers(client: Any, door: Door) -> None:
    with service() as (here, heard):
        ran = tried(client.dial(door, "127.0.0.1", here.getsockname()[1]), b"tide")
        if door.name == "front door":
            assert (ran.stdout, heard) == (b"", []), OTHERS_PORTS
        else:
            assert (ran.stdout, heard) == (b"hello", [b"tide"])


@who("socks")
def test_by_socks(client: Any, door: Door, port: int) -> None:
    here = free_port()
    with going_on(client.socks(door, here)):
        eventually(lambda: answers(here))
        assert by_socks(here, "localhost", port, b"tide") == b"TIDE"
        if door.name == "front door":
            assert by_socks(here, "192.0.2.1", 80, b"tide") == b"", OTHER_ADDRESSES


def by_socks(proxy: int, host: str, port: int, said: bytes) -> bytes:
    """What `host` answers through a proxy (RFC 1928); nothing when the proxy refuses."""
    to_proxy = socket.create_connection(("127.0.0.1", proxy), timeout=60)
    with contextlib.suppress(ConnectionResetError), to_proxy as sock, sock.makefile("rb") as heard:
        sock.sendall(b"\5\1\0")
        assert heard.read(2) == b"\5\0"
        sock.sendall(b"\5\1\0\3" + bytes([len(host)]) + host.encode() + struct.pack(">H", port))
        if heard.read(10)[1:2] != b"\0":
            return b""
        sock.sendall(said)
        return heard.read()
    return b""


@who("listen")
def test_from_a_port_inside(client: Any, door: Door) -> None:
    there = free_port()
    with service() as (home, heard), going_on(client.listen(door, there, home.getsockname()[1])):
        eventually(lambda: fetch(door.node, str(there)) == b"b'hello'\n")
        assert heard == [b"hi"]


@who("unix")
def test_to_a_socket_file_inside(client: Any, door: Door, tmp_path: Path) -> None:
    here, there = tmp_path / "here", f"/tmp/bench-{os.getpid()}"
    with inside(door, "AF_UNIX", there), going_on(client.unix(door, here, there)):
        eventually(here.exists)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(here))
            sock.sendall(b"tide")
            assert sock.recv(100) == b"TIDE"
