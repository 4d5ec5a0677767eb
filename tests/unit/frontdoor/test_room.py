"""How many may be at the front door, and inside."""

from __future__ import annotations

from nodemgr.frontdoor import limits
from nodemgr.frontdoor.limits import Client, admits_channel, admits_user, window


def users(slice: str, count: int, channels: int = 1) -> list[Client]:
    return [Client("10.0.0.1", slice, channels)] * count


def test_those_inside_are_bounded_and_strangers_do_not_count() -> None:
    most = [client for n in range(5) for client in users(f"ocean{n}", limits.MAX_CONNECTIONS // 5)]
    assert admits_user("ocean1", [*most, *[Client("10.0.0.2", None, 0)] * limits.MAX_STRANGERS])
    assert not admits_user("lake", [*most, *users("lake", 1)])


def test_one_slice_cannot_take_the_whole_house() -> None:
    most = users("ocean", limits.MAX_CONNECTIONS_PER_SLICE)
    assert admits_user("ocean", most)
    assert not admits_user("ocean", [*most, *users("ocean", 1)])
    assert admits_user("lake", [*most, *users("lake", 1)])


def test_channels_of_a_slice_are_counted_over_its_connections() -> None:
    half = limits.MAX_CHANNELS_PER_SLICE // 2
    assert admits_channel("ocean", users("ocean", 1, half) + users("lake", 5, half))
    assert not admits_channel("ocean", users("ocean", 2, half))
    assert admits_channel("lake", users("ocean", 2, half))


def test_what_a_slices_clients_can_have_kept_here_is_bounded() -> None:
    kept, clients = 0, [Client("10.0.0.9", "lake", 64)]
    for open_already in range(limits.MAX_CHANNELS_PER_SLICE):
        kept += window("ocean", [*clients, *users("ocean", open_already)])
    assert window("ocean", clients) == limits.WINDOW
    assert kept < 48 << 20
