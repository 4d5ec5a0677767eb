"""What the transport refuses to read, and the host key's file."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from nodemgr.frontdoor.hostkey import host_key_line, open_host_key
from nodemgr.frontdoor.transport import (
    MAX_BANNER,
    MAX_BEFORE_LOGIN,
    MAX_PACKET,
    MAX_PACKET_BEFORE_LOGIN,
    BoundedPacketizer,
)
from nodemgr.frontdoor.wire import Wire
from trust.sshkeys import parse_public_key


@pytest.fixture
def ends() -> Iterator[tuple[BoundedPacketizer, socket.socket]]:
    ours, theirs = socket.socketpair()
    packetizer = BoundedPacketizer(Wire(ours))
    yield packetizer, theirs
    packetizer.close()
    theirs.close()


def test_a_packet_that_is_too_long_is_not_waited_for(ends: tuple[BoundedPacketizer, socket.socket]) -> None:
    packetizer, _theirs = ends
    packetizer.logged_in = True
    with pytest.raises(paramiko.SSHException, match="packet too long"):
        packetizer.read_all(MAX_PACKET + 1)


def test_before_the_login_packets_are_short(ends: tuple[BoundedPacketizer, socket.socket]) -> None:
    packetizer, theirs = ends
    theirs.sendall(bytes(MAX_PACKET_BEFORE_LOGIN))
    assert len(packetizer.read_all(MAX_PACKET_BEFORE_LOGIN)) == MAX_PACKET_BEFORE_LOGIN
    with pytest.raises(paramiko.SSHException, match="packet too long"):
        packetizer.read_all(MAX_PACKET_BEFORE_LOGIN + 1)


def test_before_the_login_little_is_read(ends: tuple[BoundedPacketizer, socket.socket]) -> None:
    packetizer, theirs = ends
    for _ in range(MAX_BEFORE_LOGIN // 1024):
        theirs.sendall(bytes(1024))
        assert packetizer.read_all(1024) == bytes(1024)
    theirs.sendall(bytes(1024))
    with pytest.raises(paramiko.SSHException, match="too much"):
        packetizer.read_all(1024)


def test_after_the_login_that_bound_is_gone(ends: tuple[BoundedPacketizer, socket.socket]) -> None:
    packetizer, theirs = ends
    packetizer.logged_in = True
    for _ in range(MAX_BEFORE_LOGIN // 65536 + 2):
        theirs.sendall(bytes(65536))
        assert packetizer.read_all(65536) == bytes(65536)


def test_a_banner_without_end_is_given_up(ends: tuple[BoundedPacketizer, socket.socket]) -> None:
    packetizer, theirs = ends
    theirs.sendall(b"x" * (MAX_BANNER + 200))
    with pytest.raises(paramiko.SSHException, match="banner too long"):
        packetizer.readline(5)


class Noting(socket.socket):
    """A socket that notes which options are set."""

    noted: list[tuple[int, int]]

    def setsockopt(self, level: int, name: int, *value: Any) -> None:
        self.noted.append((level, name))
        super().setsockopt(level, name, *value)


def test_before_the_login_what_has_come_is_acknowledged_before_more_is_read() -> None:
    """Else the kernel puts that off by 40 ms, and a client that holds small packets back until then waits twice."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as theirs:
        ours = Noting(fileno=server.accept()[0].detach())
        ours.noted = []
        packetizer = BoundedPacketizer(Wire(ours))
        for reads in (1, 2):
            theirs.sendall(bytes(8))
            assert packetizer.read_all(8) == bytes(8)
            assert ours.noted == [(socket.IPPROTO_TCP, socket.TCP_QUICKACK)] * reads
        packetizer.logged_in = True
        theirs.sendall(bytes(8))
        assert packetizer.read_all(8) == bytes(8)
        assert len(ours.noted) == 2
        packetizer.close()


def test_a_host_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "state/host_key"
    first = open_host_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert host_key_line(open_host_key(path)) == host_key_line(first)
    assert parse_public_key(host_key_line(first)).type == "ssh-ed25519"
    assert [p.name for p in path.parent.iterdir()] == ["host_key"]
