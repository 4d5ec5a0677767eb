"""Admission control: pure."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodemgr.admission import Capacity, Held, Promised, Room, admit, lease_end, next_generation
from tests.unit.nodemgr.world import OTHER_ID, OTHER_USER
from tests.unit.trust.factories import AGENT, NOW, SLICE_ID, USER, ticket
from trust.documents import MAX_LEASELEN
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

CAPACITY = Capacity(slots=2, memory_mb=1_000, sliver_mb=100, processes=10)


def plain(places: int) -> Promised:
    return Promised(places, places)


def refusal(taken: int = 0, held: Held | None = None, capacity: Capacity = CAPACITY, agent: Identity = AGENT) -> Code:
    with pytest.raises(Refusal) as caught:
        admit(ticket(), agents=[agent], held=held, room=Room(capacity, plain(taken)))
    return caught.value.code


def test_a_place_is_given_while_there_is_one() -> None:
    admit(ticket(), agents=[AGENT], held=None, room=Room(CAPACITY, plain(1)))
    assert refusal(taken=2) is Code.OVER_CAPACITY


def test_memory_counts_as_slots_do() -> None:
    small = Capacity(slots=100, memory_mb=250, sliver_mb=100, processes=10)
    admit(ticket(), agents=[AGENT], held=None, room=Room(small, plain(1)))
    assert refusal(taken=2, capacity=small) is Code.OVER_CAPACITY
    assert (small.places, small.memory_free_mb(plain(1))) == (2, 150)
    assert [Room(small, plain(taken)).slots_free for taken in (1, 5)] == [1, 0]


def test_an_agent_that_the_settings_do_not_name_promises_nothing_here() -> None:
    assert refusal(agent=Identity(Role.AGENT, "another")) is Code.NOT_ALLOWED


def test_a_name_held_by_another_owner_or_an_older_slice_is_refused() -> None:
    assert refusal(held=Held(SLICE_ID, OTHER_USER)) is Code.NAME_TAKEN
    assert refusal(held=Held(OTHER_ID, USER)) is Code.NAME_TAKEN


def test_the_holder_has_a_place_already() -> None:
    admit(ticket(), agents=[AGENT], held=Held(SLICE_ID, USER), room=Room(CAPACITY, plain(2)))


@given(
    leaselen=st.integers(1, 10 * MAX_LEASELEN),
    longest=st.integers(1, MAX_LEASELEN),
    left=st.none() | st.integers(-1_000, 2 * MAX_LEASELEN),
)
def test_no_lease_is_longer_than_the_longest_and_none_ever_shrinks(
    leaselen: int, longest: int, left: int | None
) -> None:
    current = None if left is None else NOW + timedelta(seconds=left)
    end = lease_end(NOW, leaselen, longest, current)
    assert end.microsecond == 0
    if current is not None:
        assert end >= current
    assert end == current or end - NOW <= timedelta(seconds=min(leaselen, longest, MAX_LEASELEN))


def test_two_weeks_whatever_the_settings_say() -> None:
    assert lease_end(NOW, 2 * MAX_LEASELEN, 3 * MAX_LEASELEN) == NOW + timedelta(seconds=MAX_LEASELEN)


def test_renewing_from_the_current_generation_makes_the_next_one_once() -> None:
    assert next_generation(4, 4) == 5
    assert next_generation(5, 4) is None
    with pytest.raises(Refusal) as caught:
        next_generation(4, 2)
    assert caught.value.code is Code.STALE_GENERATION
    assert caught.value.detail == {"generation": 4}


def test_a_node_whose_store_was_put_back_goes_on_from_the_generation_that_it_had_given() -> None:
    assert next_generation(1, 3) == 4
    assert next_generation(4, 3) is None
