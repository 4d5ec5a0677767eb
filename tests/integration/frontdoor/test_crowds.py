"""Strangers who fill the room: whoever comes to log in gets in, and whoever is inside stays."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from nodemgr.frontdoor import limits
from tests.integration.frontdoor.conftest import PATIENCE, Node, another_door

CROWD = 105  # idle connections from one address: more than one may have


@pytest.fixture
def fresh(node: Node) -> Iterator[Node]:
    """The node at a front door where nobody is yet, and which does not end idle strangers by itself."""
    with another_door(node, login_seconds=PATIENCE) as other:
        yield other


@contextlib.contextmanager
def idle(node: Node, source: str, count: int) -> Iterator[list[socket.socket]]:
    """So many connections from `source` whose banner has come, the oldest first."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            sock = socket.create_connection((node.address, node.port), source_address=(source, 0), timeout=60)
            stack.enter_context(sock)
            opened.append(sock)
        yield opened


def ended(sock: socket.socket) -> bool:
    """Whether the server has closed it; what it had said before is read."""
    sock.settimeout(0.5)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    return True


def test_two_crowds_keep_nobody_out(fresh: Node) -> None:
    with idle(fresh, "127.0.0.2", CROWD), idle(fresh, "127.0.0.3", CROWD), ThreadPoolExecutor(4) as pool:
        for source in ("127.0.0.4", "127.0.0.2"):
            logins = pool.map(lambda _, source=source: fresh.ssh("-b", source, "--", "true"), range(41))
            assert [login.returncode for login in logins] == [0] * 41


def test_the_oldest_of_a_crowd_leave(fresh: Node) -> None:
    with idle(fresh, "127.0.0.3", 5) as few, idle(fresh, "127.0.0.2", CROWD) as many:
        over = CROWD - limits.MAX_STRANGERS_PER_SOURCE
        assert fresh.ssh("true").returncode == 0  # all before it have been taken in
        assert [ended(sock) for sock in many[: over + 2]] == [True] * over + [False] * 2
        assert not ended(many[-1])
        assert not any(map(ended, few))


def test_who_is_inside_stays(fresh: Node) -> None:
    with (
        fresh.start("-b", "127.0.0.2", "--", "cat") as inside,
        idle(fresh, "127.0.0.2", CROWD),
        idle(fresh, "127.0.0.3", CROWD),
    ):
        inside.stdin.write(b"hello\n")
        inside.stdin.flush()
        assert inside.stdout.readline() == b"hello\n"
        assert fresh.ssh("true").returncode == 0
        inside.stdin.close()
        assert inside.wait(60) == 0
