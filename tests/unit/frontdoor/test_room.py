"""How many may be at the front door, and inside."""

from __future__ import annotations

from nodemgr.frontdoor import limits
from nodemgr.frontdoor.limits import Guest, may_open, may_stay, window


def users(slice: str, count: int, channels: int = 1) -> list[Guest]:
    return [Guest("10.0.0.1", slice, channels)] * count


def test_those_inside_are_bounded_and_strangers_do_not_count() -> None:
    most = [guest for n in range(5) for guest in users(f"ocean{n}", limits.MAX_CONNECTIONS // 5)]
    assert may_stay("ocean1", [*most, *[Guest("10.0.0.2", None, 0)] * limits.MAX_STRANGERS])
    assert not may_stay("lake", [*most, *users("lake", 1)])


def test_one_slice_cannot_take_the_whole_house() -> None:
    most = users("ocean", limits.MAX_CONNECTIONS_PER_SLICE)
    assert may_stay("ocean", most)
    assert not may_stay("ocean", [*most, *users("ocean", 1)])
    assert may_stay("lake", [*most, *users("lake", 1)])


def test_channels_of_a_slice_are_counted_over_its_connections() -> None:
    half = limits.MAX_CHANNELS_PER_SLICE // 2
    assert may_open("ocean", users("ocean", 1, half) + users("lake", 5, half))
    assert not may_open("ocean", users("ocean", 2, half))
    assert may_open("lake", users("ocean", 2, half))


def test_what_a_slices_clients_can_have_kept_here_is_bounded() -> None:
    kept, guests = 0, [Guest("10.0.0.9", "lake", 64)]
    for open_already in range(limits.MAX_CHANNELS_PER_SLICE):
        kept += window("ocean", [*guests, *users("ocean", open_already)])
    assert window("ocean", guests) == limits.WINDOW
    assert kept < 48 << 20
