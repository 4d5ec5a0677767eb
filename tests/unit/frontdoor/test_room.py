"""How many may be at the front door, and inside."""

from __future__ import annotations

import pytest

from nodemgr.frontdoor import room
from nodemgr.frontdoor.room import Guest, may_knock, may_open, may_stay


def strangers(source: str, count: int) -> list[Guest]:
    return [Guest(source, None, 0)] * count


def users(slice: str, count: int, channels: int = 1) -> list[Guest]:
    return [Guest("10.0.0.1", slice, channels)] * count


@pytest.mark.parametrize(
    ("guests", "allowed"),
    [
        ([], True),
        (strangers("a", room.MAX_STRANGERS_PER_SOURCE - 1), True),
        (strangers("a", room.MAX_STRANGERS_PER_SOURCE), False),
        (strangers("b", room.MAX_STRANGERS_PER_SOURCE), True),
        (strangers("b", 99) + strangers("c", 99) + strangers("d", 2), False),
        (users("ocean", room.MAX_CONNECTIONS - 1), True),
        (users("ocean", room.MAX_CONNECTIONS), False),
    ],
)
def test_who_may_knock(guests: list[Guest], allowed: bool) -> None:
    assert may_knock("a", guests) is allowed


def test_one_slice_cannot_take_the_whole_house() -> None:
    most = users("ocean", room.MAX_CONNECTIONS_PER_SLICE)
    assert may_stay("ocean", most)
    assert not may_stay("ocean", [*most, *users("ocean", 1)])
    assert may_stay("lake", [*most, *users("lake", 1)])


def test_channels_of_a_slice_are_counted_over_its_connections() -> None:
    half = room.MAX_CHANNELS_PER_SLICE // 2
    assert may_open("ocean", users("ocean", 1, half) + users("lake", 5, half))
    assert not may_open("ocean", users("ocean", 2, half))
    assert may_open("lake", users("ocean", 2, half))
