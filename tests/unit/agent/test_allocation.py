"""Which nodes a request gets: pure."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.allocation import Candidate, choose
from trust.errors import Code, Refusal

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
