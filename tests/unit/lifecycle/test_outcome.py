"""What a step's result means: pure."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from lifecycle.events import EventType
from lifecycle.outcome import Claim, Done, Facts, Failed, Granted, decide
from models.states import Kind, SliverState, StepState, Verb
from trust.errors import Code

UNREACHABLE = Failed(Code.UNREACHABLE, "unreachable")
MOVED = (SliverState.TICKETED, SliverState.LEASED)


def claim(kind: Kind, node: str | None = "127.0.1.1", verb: Verb = Verb.CREATESLICE) -> Claim:
    return Claim(1, uuid4(), kind, uuid4(), verb, node, 1, 0, 0, 0, datetime.now(UTC), 10, {}, None, None)


def granted(*nodes: str) -> Done:
    end = datetime.now(UTC)
    return Done(tickets=tuple(Granted(n, "n", "u", "a", (n, 22, "k"), "j", "t", end) for n in nodes))


def said(decision: Any) -> list[tuple[str, Any]]:
    return [(say.type, say.fields.get("ok")) for say in decision.says]


def test_a_node_in_the_middle_of_its_chain() -> None:
    found = decide(claim(Kind.NEWLEASES), Done(), Facts(Verb.CREATESLICE, moved=MOVED))
    assert (found.state, found.ok, found.failed) == (StepState.DONE, 0, 0)
    assert [(follow.kind, follow.slot) for follow in found.follows] == [(Kind.NEWVMS, True)]
    assert said(found) == [(EventType.STEP, True)]


def test_a_node_at_the_end_of_its_chain() -> None:
    found = decide(claim(Kind.NEWLEASES), Done(), Facts(Verb.NEWLEASES, moved=MOVED))
    assert (found.ok, found.follows, said(found)) == (1, (), [(EventType.NODE, True)])


def test_a_new_vm_gets_the_keys_that_are_wanted() -> None:
    facts = Facts(Verb.NEWVMS, moved=(SliverState.LEASED, SliverState.RUNNING), keys_wanted=True)
    assert [follow.kind for follow in decide(claim(Kind.NEWVMS), Done(), facts).follows] == [Kind.ADDKEY]


def test_a_sliver_that_was_not_allowed_to_move() -> None:
    found = decide(claim(Kind.NEWVMS), Done(), Facts(Verb.CREATESLICE))
    assert (found.state, found.failed) == (StepState.FAILED, 1)
    assert found.error
    assert found.error.code is Code.CANCELLED


def test_a_sliver_that_somebody_else_has_deleted_meanwhile() -> None:
    found = decide(claim(Kind.DELETE), Done(), Facts(Verb.DELETESLICE))
    assert (found.state, found.ok, said(found)) == (StepState.DONE, 1, [(EventType.NODE, True)])


def test_what_was_done_before_needs_no_move() -> None:
    found = decide(claim(Kind.NEWLEASES), Done(unchanged=True), Facts(Verb.CREATESLICE))
    assert [follow.kind for follow in found.follows] == [Kind.NEWVMS]


def test_a_transient_failure_is_held() -> None:
    found = decide(claim(Kind.NEWLEASES), Failed(Code.TIMEOUT, "slow", 1.25), Facts(Verb.CREATESLICE))
    assert (found.state, found.failed, said(found)) == (StepState.HELD, 0, [(EventType.STEP, None)])
    assert found.says[0].fields["detail"] == {"again_in": 1.2}


def test_a_final_failure_is_its_nodes_line() -> None:
    found = decide(claim(Kind.NEWLEASES), UNREACHABLE, Facts(Verb.CREATESLICE))
    assert (found.state, found.failed, said(found)) == (StepState.FAILED, 1, [(EventType.NODE, False)])


@pytest.mark.parametrize("kind", [Kind.NEWLEASES, Kind.NEWVMS])
def test_a_failed_node_gives_way(kind: Kind) -> None:
    found = decide(claim(kind), UNREACHABLE, Facts(Verb.CREATESLICE, replace=True))
    assert (found.failed, [follow.kind for follow in found.follows]) == (0, [Kind.REPLACE])
    assert found.says[0].fields["detail"] == {"replaced": True}


def test_what_does_not_give_way() -> None:
    gone = Failed(Code.CANCELLED, "deleted")
    for kind, failed, cancelled in (
        (Kind.ADDKEY, UNREACHABLE, False),
        (Kind.REPLACE, UNREACHABLE, False),
        (Kind.NEWVMS, UNREACHABLE, True),
        (Kind.NEWVMS, gone, False),
    ):
        found = decide(claim(kind), failed, Facts(Verb.CREATESLICE, replace=True, cancelled=cancelled))
        assert (found.failed, found.follows) == (1, ())


def test_refused_tickets_refuse_the_operation() -> None:
    found = decide(claim(Kind.NEWTICKETS, None), UNREACHABLE, Facts(Verb.CREATESLICE))
    assert (found.refused, found.failed, said(found)) == (True, 0, [(EventType.NOTE, False)])


def test_tickets_become_steps_that_wait_for_the_window() -> None:
    found = decide(claim(Kind.NEWTICKETS, None), granted("a", "b"), Facts(Verb.CREATESLICE, granted=("a", "b")))
    assert [(f.kind, f.node, f.slot) for f in found.follows] == [
        (Kind.NEWLEASES, "a", False),
        (Kind.NEWLEASES, "b", False),
    ]


def test_newtickets_alone_ends_with_a_line_for_each_ticket() -> None:
    found = decide(claim(Kind.NEWTICKETS, None), granted("a", "b"), Facts(Verb.NEWTICKETS, granted=("a", "b")))
    assert (found.ok, found.follows) == (2, ())
    assert said(found)[1:] == [(EventType.NODE, True)] * 2


def test_a_ticket_whose_row_was_not_free() -> None:
    found = decide(claim(Kind.NEWTICKETS, None), granted("a", "b"), Facts(Verb.CREATESLICE, granted=("a",)))
    assert (found.failed, len(found.follows)) == (1, 1)


@pytest.mark.parametrize("kind", [Kind.NEWTICKETS, Kind.NEWLEASES, Kind.NEWVMS])
def test_a_cancelled_operation_goes_no_further(kind: Kind) -> None:
    result = granted("a") if kind is Kind.NEWTICKETS else Done()
    facts = Facts(Verb.CREATESLICE, cancelled=True, moved=MOVED, granted=("a",))
    found = decide(claim(kind), result, facts)
    assert found.follows == ()
    assert found.ok + found.failed == 1


def test_a_cancelled_operation_tries_nothing_again() -> None:
    found = decide(claim(Kind.NEWLEASES), Failed(Code.TIMEOUT, "slow", 1.0), Facts(Verb.CREATESLICE, cancelled=True))
    assert found.state is StepState.FAILED
