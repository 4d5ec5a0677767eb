"""Who leaves when strangers fill the room: decided without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.eviction import leaver, source_of

MOST, SHARE = 6, 4


def leaves(strangers: str, newcomer: str) -> int | None:
    return leaver(strangers, newcomer, most=MOST, most_per_source=SHARE)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("/run/dslice.sock", "/run/dslice.sock"),
    ],
)
def test_what_an_address_counts_as(address: str, source: str) -> None:
    assert source_of(address) == source


@pytest.mark.parametrize(
    ("strangers", "newcomer", "place"),
    [
        ("", "a", None),
        ("aaab", "a", None),
        ("baaaa", "a", 1),  # its source has its share: the oldest of it
        ("aaaa", "b", None),
        ("baaabb", "c", 0),  # full, and both have three: the oldest
        ("bcaaab", "b", 2),  # full: the oldest of the largest
        ("abcdef", "g", 0),
    ],
)
def test_who_leaves(strangers: str, newcomer: str, place: int | None) -> None:
    assert leaves(strangers, newcomer) == place


@given(st.text("abcd", max_size=60))
def test_everyone_comes_in_and_the_bounds_hold(newcomers: str) -> None:
    present: list[str] = []
    for newcomer in newcomers:
        place = leaver(present, newcomer, most=MOST, most_per_source=SHARE)
        if place is not None:
            present.pop(place)
        present.append(newcomer)
        assert len(present) <= MOST
        assert present.count(newcomer) <= SHARE


@given(st.text("ab", max_size=300))
def test_a_crowd_from_two_sources_never_displaces_the_one_who_came_alone(crowd: str) -> None:
    present = ["honest"]
    for newcomer in crowd:
        place = leaver(present, newcomer, most=MOST, most_per_source=SHARE)
        if place is not None:
            assert present[place] != "honest"
            present.pop(place)
        present.append(newcomer)
