"""The table of moves and the chains: pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.moves import MOVES
from lifecycle.verbs import VERBS, next_kind
from models.states import LIVE, Kind, SliverState, Verb


def test_createslice_is_exactly_the_three() -> None:
    chain, kind = [Kind.NEWTICKETS], next_kind(Verb.CREATESLICE, Kind.NEWTICKETS)
    while kind is not None:
        chain.append(kind)
        kind = next_kind(Verb.CREATESLICE, kind)
    assert chain == [Kind.NEWTICKETS, Kind.NEWLEASES, Kind.NEWVMS]


@pytest.mark.parametrize("verb", [verb for verb in Verb if len(VERBS[verb].chain) < 2])
@pytest.mark.parametrize("kind", list(Kind))
def test_other_verbs_go_no_further(verb: Verb, kind: Kind) -> None:
    assert next_kind(verb, kind) is None


def test_a_replacement_goes_on_with_newleases() -> None:
    assert next_kind(Verb.CREATESLICE, Kind.REPLACE) is Kind.NEWLEASES
    assert next_kind(Verb.REPLACE, Kind.REPLACE) is Kind.NEWLEASES


def test_deleting_leads_only_to_deleted() -> None:
    leaving = {move.to for name, move in MOVES.items() if SliverState.DELETING in move.sources}
    assert leaving == {SliverState.DELETED}


@given(st.lists(st.sampled_from(sorted(MOVES)), max_size=30))
def test_from_deleting_no_sequence_of_moves_brings_a_sliver_back_but_a_new_ticket(names: list[str]) -> None:
    state, deleted = SliverState.DELETING, False
    for name in names:
        move = MOVES[name]
        if state in move.sources and move.to:
            state = move.to
        deleted = deleted or state is SliverState.DELETED
        assert deleted or state is SliverState.DELETING
        assert state not in LIVE or name in (Kind.NEWTICKETS, Kind.REPLACE) or deleted
