"""What follows at a node is claimed by the worker that did the step before it, in the transaction that records that."""

from datetime import UTC, datetime
from typing import Any

import pytest

from lifecycle.operations import SliceSpec, cancel
from lifecycle.outcome import Claim, Done, Record
from lifecycle.record import record
from lifecycle.recovery import republish
from lifecycle.steps import Hold, StepRef
from models.states import Kind, SliverState, Verb
from tests.integration.lifecycle.world import KEY, World, final, tickets, transient

HOLD = Hold(75, worker=7)


def begun(world: World, nodes: int = 2, **options: Any) -> list[Claim]:
    """The claimed newleases steps of a createslice."""
    started = world.start(Verb.CREATESLICE, spec=SliceSpec(nodes, 3600), **options)
    (ticket,) = world.claim(started.publish)
    _, refs = world.record((ticket, tickets([f"127.0.1.{n}" for n in range(1, nodes + 1)])))
    return world.claim(refs, worker=7)


def went_on(world: World, *claims: Claim, hold: Hold | None = HOLD) -> tuple[list[bool], list[StepRef], list[Claim]]:
    """Record that these are done; whether they were ours, what is to publish, what was claimed to go on with."""
    with world.database.begin() as connection:
        ours, refs, following = record(connection, [Record(one, world.answer(one), hold) for one in claims])
    return ours, refs, list(following.values())


def test_newvms_follows_newleases_without_a_message(world: World) -> None:
    claims = begun(world)
    ours, refs, following = went_on(world, *claims)
    assert (ours, refs) == ([True, True], [])
    assert [(one.kind, one.node, one.attempts, one.tries) for one in following] == [
        (Kind.NEWVMS, one.node, 1, 0) for one in claims
    ]
    rows = world.rows("SELECT state, claim_worker, attempts, publishes FROM svm.step WHERE kind = 'newvms'")
    assert [tuple(row) for row in rows] == [("running", 7, 1, 1)] * 2
    _, refs, following = went_on(world, *following)
    assert (refs, following) == ([], [])
    assert set(world.states().values()) == {"running"}
    assert world.rows("SELECT outcome, ok, in_flight FROM svm.operation")[0] == ("done", 2, 0)


def test_it_knows_what_the_step_before_it_has_changed(world: World) -> None:
    (claim,) = begun(world, 1)
    _, _, (following,) = went_on(world, claim)
    (again,) = world.claim([following.id]) or (None,)
    assert again is None  # nobody else takes it
    world.execute("UPDATE svm.step SET claim_until = now() - interval '1 second' WHERE state = 'running'")
    (read,) = world.claim([following.id])
    for found in (following.sliver, read.sliver):
        assert found is not None
        assert (found.state, found.lease, found.generation, found.expired) == (SliverState.LEASED, "a lease", 1, False)
        assert found.expires_at is not None
        assert found.expires_at > datetime.now(UTC)
    assert (following.slice, following.verb, following.operation) == (read.slice, read.verb, read.operation)


def test_keys_that_are_wanted_follow_too(world: World) -> None:
    claims = begun(world, 1)
    world.start(Verb.ADDKEY, keys=(KEY,))
    _, _, following = went_on(world, *claims)
    _, refs, following = went_on(world, *following)
    assert [one.kind for one in following] == [Kind.ADDKEY]
    assert refs == []
    assert following[0].sliver is not None
    assert following[0].sliver.state is SliverState.RUNNING


def test_without_a_hold_it_is_published_for_anybody(world: World) -> None:
    claims = begun(world)
    _, refs, following = went_on(world, *claims, hold=None)
    assert [ref.kind for ref in refs] == [Kind.NEWVMS] * 2
    assert following == []


def test_nothing_follows_what_was_cancelled_or_deleted(world: World) -> None:
    one, other = begun(world, 2)
    with world.database.begin() as connection:
        cancel(connection, one.operation)
    assert went_on(world, one)[1:] == ([], [])
    world.start(Verb.DELETESLICE)
    assert went_on(world, other) == ([False], [], [])


@pytest.mark.parametrize("result", [transient(), final()])
def test_a_step_that_failed_is_followed_by_no_claim(world: World, result: Any) -> None:
    (claim,) = begun(world, 1)
    with world.database.begin() as connection:
        _, refs, following = record(connection, [Record(claim, result, HOLD)])
    assert ([ref.kind for ref in refs if ref.kind is not Kind.NEWLEASES], following) == ([], {})


def test_the_replacement_of_a_node_is_anybodys(world: World) -> None:
    (claim,) = begun(world, 1, replace=True)
    with world.database.begin() as connection:
        _, refs, following = record(connection, [Record(claim, final(), HOLD)])
    assert ([ref.kind for ref in refs], following) == ([Kind.REPLACE], {})


def test_what_a_lost_worker_went_on_with_is_published_as_soon_as_its_claim_ends(world: World) -> None:
    (claim,) = begun(world, 1)
    _, _, (following,) = went_on(world, claim)
    with world.database.begin() as connection:
        assert republish(connection, 60) == ([], 0)
    world.execute("UPDATE svm.step SET claim_until = now() WHERE state = 'running'")
    with world.database.begin() as connection:
        refs, lapsed = republish(connection, 60)
    assert ([ref.id for ref in refs], lapsed) == ([following.id], 1)
    (other,) = world.claim(refs)
    assert went_on(world, following)[0] == [False]
    assert world.record((other, Done()))[0] == [True]


def test_a_second_record_of_the_same_claim_goes_on_with_nothing(world: World) -> None:
    (claim,) = begun(world, 1)
    ours, refs, following = went_on(world, claim, claim)
    assert (ours, refs, len(following)) == ([True, False], [], 1)


def test_a_window_stays_full_and_never_overflows(world: World) -> None:
    """What goes on keeps its slot; the last step's slot is refilled."""
    claims = begun(world, 5, parallelism=2)
    assert len(claims) == 2
    _, refs, following = went_on(world, *claims)
    assert (refs, len(following)) == ([], 2)
    _, refs, following = went_on(world, *following)
    assert ([ref.kind for ref in refs], following) == ([Kind.NEWLEASES] * 2, [])
    assert world.rows("SELECT in_flight FROM svm.operation")[0].in_flight == 2


def test_a_large_window_is_refilled_by_several_slots_at_a_time(world: World) -> None:
    claims = begun(world, 100, parallelism=64)
    assert len(claims) == 64
    done = []
    for claim in claims[:8]:  # an eighth of the window, but not more than a quarter of a message
        _, refs, following = went_on(world, claim)
        _, refs, _ = went_on(world, *following)
        done.append(len(refs))
    assert done == [0, 0, 0, 4, 0, 0, 0, 4]


def test_the_last_steps_wait_for_no_others(world: World) -> None:
    claims = begun(world, 65, parallelism=64)
    _, _, following = went_on(world, claims[0])
    assert len(went_on(world, *following)[1]) == 1
