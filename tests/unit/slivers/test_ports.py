"""Whose a listening port is."""

from __future__ import annotations

import os
import socket

import pytest

from nodemgr.slivers.limits.ports import Listener, answers, listeners, parse, sockets

V4 = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:0016 01 00000000:00000000 00:00000000 00000000  1000        0 12 1 0 100 0 0 10 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
"""
V6 = """\
  sl  local_address                         remote_address                        st tx rx tr tm retr uid timeout inode
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1000 0 14 1 0 100 0
"""

MINE, THEIRS = 1, 2


def test_parse() -> None:
    assert parse(V4) == [Listener("127.0.0.1", 8080, 11), Listener("0.0.0.0", 22, 13)]  # noqa: S104
    assert parse(V6) == [Listener("::1", 8080, 14)]


def test_one_own_listener_in_the_real_table() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        table, mine = listeners(), sockets([os.getpid()])
        assert answers(table, mine, "127.0.0.1", port)
        assert not answers(table, set(), "127.0.0.1", port)
        assert not answers(table, mine, "::1", port)
    assert not answers(listeners(), mine, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("table", "address", "mine"),
    [
        ([("127.0.0.1", MINE)], "127.0.0.1", True),
        ([("127.0.0.1", THEIRS)], "127.0.0.1", False),
        ([("0.0.0.0", MINE)], "127.0.0.1", True),  # noqa: S104
        ([("::", MINE)], "127.0.0.1", True),
        ([("::", MINE)], "::1", True),
        ([("0.0.0.0", MINE)], "::1", False),  # noqa: S104
        ([("::", MINE), ("127.0.0.1", THEIRS)], "127.0.0.1", False),
        ([("0.0.0.0", MINE), ("127.0.0.1", THEIRS)], "127.0.0.1", False),  # noqa: S104
        ([("::", MINE), ("0.0.0.0", THEIRS)], "127.0.0.1", False),  # noqa: S104
        ([("127.0.0.1", MINE), ("127.0.0.1", THEIRS)], "127.0.0.1", False),
        ([("127.0.0.2", MINE)], "127.0.0.1", False),
        ([], "127.0.0.1", False),
    ],
)
def test_the_kernels_choice_among_several(table: list[tuple[str, int]], address: str, mine: bool) -> None:
    found = [Listener(bound, 80, inode) for bound, inode in table]
    assert answers(found, {MINE}, address, 80) is mine
    assert not answers(found, {MINE}, address, 81)


def test_processes_that_are_gone_hold_nothing() -> None:
    assert sockets([2**22 + 1]) == set()
