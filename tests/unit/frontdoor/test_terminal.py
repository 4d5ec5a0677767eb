"""Terminal modes of RFC 4254, section 8."""

from __future__ import annotations

import os
import pty
import struct
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodemgr.frontdoor.terminal import apply, decode


def mode(opcode: int, argument: int) -> bytes:
    return struct.pack(">BI", opcode, argument)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_decode_until_the_end() -> None:
    assert decode(mode(3, 127) + mode(53, 0) + b"\0" + mode(51, 0)) == {3: 127, 53: 0}


def test_decode_stops_at_what_has_no_argument_and_where_it_is_cut_off() -> None:
    assert decode(mode(3, 127) + mode(160, 1) + mode(53, 1)) == {3: 127}
    assert decode(mode(3, 127) + b"\x35\0\0") == {3: 127}


@given(st.binary(max_size=200))
def test_any_bytes_decode_to_opcodes(modes: bytes) -> None:
    assert all(1 <= opcode <= 159 for opcode in decode(modes))


def test_modes_set_on_the_master_are_the_slaves(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    apply(master, {3: 8, 53: 0, 51: 0, 72: 0, 36: 0, 1: 255})
    attributes = termios.tcgetattr(slave)
    assert attributes[6][termios.VERASE] == b"\x08"
    assert attributes[6][termios.VINTR] == b"\0"  # disabled
    assert not attributes[3] & (termios.ECHO | termios.ICANON)
    assert not attributes[1] & termios.ONLCR
    assert not attributes[0] & termios.ICRNL
    apply(master, {53: 1})
    assert termios.tcgetattr(slave)[3] & termios.ECHO


@given(st.dictionaries(st.integers(1, 159), st.integers(0, 2**32 - 1)))
def test_no_mode_is_a_surprise(modes: dict[int, int]) -> None:
    master, slave = pty.openpty()
    try:
        apply(master, modes)
    finally:
        os.close(master)
        os.close(slave)


def test_what_is_no_terminal_is_left_alone() -> None:
    source, target = os.pipe()
    apply(source, {53: 0})
    os.close(source)
    os.close(target)
