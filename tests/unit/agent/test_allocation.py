"""Which nodes a request gets: pure."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.allocation import Candidate, choose
from trust.errors import Code, Refusal
from trust.needs import NOTHING, Needs

SITES = ["Princeton", "Berkeley", "Cambridge"]


def node(number: int, site: str = "Princeton", slots: int = 10, free: int = 5, tickets: int = 0) -> Candidate:
    return Candidate(f"n{number}", f"10.0.0.{number}", site, slots, free, tickets)


@st.composite
def _candidates(draw: Any) -> list[Candidate]:
    numbers = draw(st.lists(st.integers(1, 40), unique=True, max_size=25))
    return [
        Candidate(
            f"n{number}",
            f"10.0.0.{number}",
            draw(st.sampled_from(SITES)),
            draw(st.integers(0, 8)),
            draw(st.integers(0, 8)),
            draw(st.integers(0, 4)),
        )
        for number in numbers
    ]


def able(number: int, memory: int = 1_000, **changes: Any) -> Candidate:
    """A node that knows of needs: nine places, of 100 MiB each if nothing is said."""
    values = {
        "slots": 9,
        "slots_free": 9,
        "promised": 0,
        "memory_free_mb": memory,
        "sliver_mb": 100,
        "most_processes": 50,
    }
    return Candidate(f"n{number}", f"10.0.0.{number}", "Princeton", **values | changes)


def chosen(candidates: list[Candidate], **wanted: Any) -> list[str]:
    return [found.address for found in choose(candidates, **wanted)]


def refused(candidates: list[Candidate], **wanted: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        choose(candidates, **wanted)
    assert caught.value.code is Code.TOO_FEW_NODES
    return caught.value


def test_the_first_m_of_the_n_listed_in_the_lists_order() -> None:
    nodes = [node(1), node(2), node(3, free=0), node(4)]
    listed = ["10.0.0.4", "10.0.0.3", "10.0.0.9", "10.0.0.2", "10.0.0.4", "10.0.0.1"]
    assert chosen(nodes, numnodes=2, ips=listed) == ["10.0.0.4", "10.0.0.2"]
    assert chosen(nodes, numnodes=3, ips=listed) == ["10.0.0.4", "10.0.0.2", "10.0.0.1"]
    assert refused(nodes, numnodes=4, ips=listed).detail == {"available": 3, "asked": 4}


def test_excluded_nodes_are_not_taken() -> None:
    nodes = [node(1), node(2)]
    assert chosen(nodes, numnodes=1, exclude=["10.0.0.1"]) == ["10.0.0.2"]
    assert chosen(nodes, numnodes=1, ips=["10.0.0.1", "10.0.0.2"], exclude=["10.0.0.1"]) == ["10.0.0.2"]
    assert refused(nodes, numnodes=2, exclude=["10.0.0.1"]).detail["available"] == 1


def test_open_tickets_take_slots() -> None:
    assert refused([node(1, free=2, tickets=2)], numnodes=1).detail["available"] == 0


def test_the_least_loaded_of_a_site_comes_first() -> None:
    nodes = [node(1, free=2), node(2, free=9), node(3, free=9, tickets=3)]
    assert chosen(nodes, numnodes=3) == ["10.0.0.2", "10.0.0.3", "10.0.0.1"]


def test_sites_take_turns() -> None:
    nodes = [node(1, free=9), node(2, free=9), node(3, "Berkeley", free=1), node(4, "Berkeley", free=1)]
    assert Counter(found.site for found in choose(nodes, numnodes=2)) == {"Princeton": 1, "Berkeley": 1}


@given(candidates=_candidates(), numnodes=st.integers(1, 25), exclude=st.sets(st.integers(1, 40), max_size=3))
def test_any_choice_is_of_available_nodes_and_as_many_as_asked(
    candidates: list[Candidate], numnodes: int, exclude: set[int]
) -> None:
    excluded = {f"10.0.0.{number}" for number in exclude}
    available = [c for c in candidates if c.slots_free > c.promised and c.address not in excluded]
    if len(available) < numnodes:
        assert refused(candidates, numnodes=numnodes, exclude=excluded).detail["available"] == len(available)
        return
    found = choose(candidates, numnodes=numnodes, exclude=excluded)
    assert len(found) == len(set(found)) == numnodes
    assert set(found) <= set(available)
    _check_spread(found, available)


@given(candidates=_candidates(), ips=st.lists(st.integers(1, 40), min_size=1, max_size=40), numnodes=st.integers(1, 10))
def test_any_list_is_worked_through_in_order(candidates: list[Candidate], ips: list[int], numnodes: int) -> None:
    listed = [f"10.0.0.{number}" for number in ips]
    free = {c.address for c in candidates if c.slots_free > c.promised}
    usable = [ip for ip in dict.fromkeys(listed) if ip in free]
    if len(usable) < numnodes:
        assert refused(candidates, numnodes=numnodes, ips=listed).detail["available"] == len(usable)
    else:
        assert chosen(candidates, numnodes=numnodes, ips=listed) == usable[:numnodes]


def _check_spread(found: tuple[Candidate, ...], available: list[Candidate]) -> None:
    """No site has two more than another that still has a free node; within a site nobody less loaded is left."""
    taken = Counter(c.site for c in found)
    left = [c for c in available if c not in found]
    for site in {c.site for c in left}:
        assert max(taken.values()) - taken[site] <= 1
    for c in found:
        assert all(other.load >= c.load for other in left if other.site == c.site)


def test_nodes_that_cannot_hold_it_are_left_out() -> None:
    nodes = [able(1), able(2, 499), able(3, disk_mb=99), able(4, most_processes=9), node(5)]
    assert sorted(chosen(nodes, numnodes=3, needs=Needs(memory_mb=500))) == ["10.0.0.1", "10.0.0.3", "10.0.0.4"]
    assert sorted(chosen(nodes, numnodes=3, needs=Needs(disk_mb=100))) == ["10.0.0.1", "10.0.0.2", "10.0.0.4"]
    assert sorted(chosen(nodes, numnodes=3, needs=Needs(processes=10))) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert len(chosen(nodes, numnodes=4, needs=Needs(cpu=200))) == 4  # a weight is no amount, but an old node has none
    assert len(chosen(nodes, numnodes=5)) == 5


def test_what_is_promised_to_others_counts() -> None:
    busy = able(1, promised=3, plain=1, memory_promised_mb=400, disk_mb=1_000, disk_promised_mb=300)
    assert busy.holds(Needs(memory_mb=500, disk_mb=700))
    assert not busy.holds(Needs(memory_mb=501))
    assert not busy.holds(Needs(disk_mb=701))
    assert busy.free == 5
    assert not able(1, promised=2, plain=1, memory_promised_mb=801).holds(NOTHING)
    assert not able(1, promised=9, plain=9, memory=10_000).holds(Needs(memory_mb=1))


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (Needs(memory_mb=4096), "4 asked for, 2 have 4,096 MiB of memory free, nothing taken; ask for less"),
        (Needs(memory_mb=4096, cpu=7), "2 have 4,096 MiB of memory free, nothing"),
        (Needs(memory_mb=4096, disk_mb=8), "2 have 4,096 MiB of memory free, nothing"),
        (Needs(memory_mb=4096, processes=51), "0 have 4,096 MiB of memory free and 51 processes for a sliver"),
        (Needs(image="bookworm"), "0 have the image bookworm, nothing"),
    ],
)
def test_the_refusal_says_what_was_missing(needs: Needs, said: str) -> None:
    nodes = [able(1, 5_000), able(2, 5_000), able(3), able(4, disk_mb=9)]
    assert said in refused(nodes, numnodes=4, needs=needs).reason


def test_two_needs_that_are_met_by_too_few_nodes_together() -> None:
    nodes = [able(1, 5_000, disk_mb=0), able(2, 5_000, disk_mb=0), able(3, disk_mb=900), able(4, disk_mb=900)]
    found = refused(nodes, numnodes=2, needs=Needs(memory_mb=2_000, disk_mb=800))
    assert "0 have 2,000 MiB of memory free and 800 MiB of disk free" in found.reason
    assert found.detail == {"available": 0, "asked": 2}
    one = refused([able(1), node(2)], numnodes=2, needs=Needs(cpu=3))
    assert "2 asked for, 1 has what it needs, nothing taken" in one.reason


def test_too_few_nodes_at_all_is_said_as_ever() -> None:
    assert "3 asked for, 2 available, nothing" in refused([able(1), able(2)], numnodes=3, needs=Needs(cpu=3)).reason


def test_the_digest_that_most_of_the_free_nodes_have() -> None:
    a, b = "aa" * 32, "bb" * 32
    nodes = [able(1, digest=a), able(2, digest=b), able(3, digest=a), able(4, digest=b), able(5, digest=b, memory=0)]
    nodes += [able(6, digest=a, memory=10), able(7)]
    image = Needs(image="bookworm")
    assert {one.digest for one in choose(nodes, numnodes=2, needs=image)} == {b}
    assert {one.digest for one in choose(nodes[:-3], numnodes=2, needs=image, exclude=["10.0.0.2"])} == {a}
    assert "2 have the image bookworm" in refused(nodes, numnodes=3, needs=image).reason
    pinned = Needs(image="bookworm", digest=a)
    assert sorted(chosen(nodes, numnodes=2, needs=pinned)) == ["10.0.0.1", "10.0.0.3"]
    assert "0 have the image" in refused(nodes, numnodes=1, needs=Needs(image="bookworm", digest="cc" * 32)).reason
