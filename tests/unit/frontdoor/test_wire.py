"""A connection's socket: what it reads ahead, how long it waits, what ends it."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from nodemgr.frontdoor.wire import AHEAD, Wire


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    wire.settimeout(0.05)
    yield wire, ours, theirs
    wire.close()
    theirs.close()


def test_what_has_come_is_read_at_once_and_given_in_pieces(ends: tuple[Wire, socket.socket, socket.socket]) -> None:
    wire, ours, theirs = ends
    theirs.sendall(bytes(range(100)))
    assert wire.recv(16) == bytes(range(16))
    with pytest.raises(BlockingIOError):
        ours.recv(1, socket.MSG_DONTWAIT)
    assert wire.recv(1000) == bytes(range(16, 100))
    theirs.sendall(b"more")
    theirs.close()
    assert (wire.recv(4), wire.recv(4)) == (b"more", b"")


def test_whoever_says_nothing_is_waited_for_so_long(ends: tuple[Wire, socket.socket, socket.socket]) -> None:
    wire, _ours, theirs = ends
    with pytest.raises(TimeoutError):
        wire.recv(1)
    theirs.sendall(b"late")
    assert wire.recv(4) == b"late"


def test_whoever_reads_nothing_is_waited_for_so_long(ends: tuple[Wire, socket.socket, socket.socket]) -> None:
    wire, _ours, theirs = ends
    taken: list[int] = []
    with pytest.raises(TimeoutError):
        taken.extend(wire.send(bytes(AHEAD)) for _ in itertools.count())
    left = sum(taken)
    while left:
        left -= len(theirs.recv(left))
    assert wire.send(b"more") == 4


def test_who_has_the_socket_too_may_end_it(ends: tuple[Wire, socket.socket, socket.socket]) -> None:
    wire, ours, _theirs = ends
    ours.shutdown(socket.SHUT_RDWR)
    assert wire.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        wire.send(b"x")
