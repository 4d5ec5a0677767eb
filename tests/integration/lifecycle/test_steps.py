"""Claims, windows, retries, cancelling: what many workers do to one operation."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from lifecycle.operations import SliceSpec, cancel, start
from lifecycle.steps import StepRef
from models.states import Kind, Queue, Verb
from tests.integration.lifecycle.world import KEY, World, final, lapsed, tickets, transient, wanted
from trust.errors import Code, Refusal


def begun(world: World, nodes: int = 4, **options: Any) -> tuple[list[StepRef], UUID]:
    """A createslice whose tickets are there: its first newleases steps, and the operation."""
    started = world.start(Verb.CREATESLICE, spec=SliceSpec(nodes, 3600), **options)
    (ticket,) = world.claim(started.publish)
    _, refs = world.record((ticket, tickets([f"127.0.1.{n}" for n in range(1, nodes + 1)])))
    return refs, started.operation


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run them as nearly at the same time as threads can."""
    barrier = threading.Barrier(len(calls))

    def go(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(go, calls))


def test_a_step_is_claimed_once(world: World) -> None:
    refs, _ = begun(world, 8)
    found = at_once(*[lambda: world.claim(refs)] * 8)
    ids = [claim.id for claims in found for claim in claims]
    assert sorted(ids) == sorted(ref.id for ref in refs)


def test_a_claim_is_committed_with_the_note_that_a_redemption_may_go_out(world: World) -> None:
    refs, _ = begun(world)
    (found,) = world.claim(refs[:1])
    assert found.sliver
    assert not found.sliver.redeemed
    assert world.rows("SELECT count(redeemed_at) AS n FROM svm.sliver")[0].n == 1


def test_a_lapsed_claim_is_taken_over_and_the_late_record_is_ignored(world: World) -> None:
    refs, _ = begun(world)
    (slow,) = world.claim(refs[:1], seconds=0)
    (quick,) = world.claim(refs[:1])
    assert (quick.attempts, slow.attempts) == (2, 1)
    ours, published = world.record((slow, world.answer(slow)))
    assert (ours, published) == ([False], [])
    assert world.states()[str(slow.node)] == "ticketed"
    assert world.record((quick, world.answer(quick)))[0] == [True]
    assert world.record((quick, world.answer(quick)))[0] == [False]


def test_a_claim_that_holds_is_not_taken_over(world: World) -> None:
    refs, _ = begun(world)
    world.claim(refs)
    assert world.claim(refs) == []


def test_a_record_under_another_token_is_ignored(world: World) -> None:
    refs, _ = begun(world)
    (found,) = world.claim(refs[:1])
    assert world.record((lapsed(found), world.answer(found)))[0] == [False]


def test_at_most_p_steps_are_in_flight(world: World) -> None:
    refs, operation = begun(world, 10, parallelism=3)
    assert len(refs) == 3
    most = 0
    while refs:
        (found,) = world.claim([refs.pop(0)])
        refs += world.record((found, world.answer(found)))[1]
        (row,) = world.rows(
            """SELECT o.in_flight, (SELECT count(*) FROM svm.step s WHERE s.operation = o.id
            AND s.state IN ('released', 'running')) AS counted FROM svm.operation o WHERE id = :o""",
            o=operation,
        )
        assert row.in_flight == row.counted
        most = max(most, row.in_flight)
    assert most == 3
    assert set(world.states().values()) == {"running"}


def test_newvms_inherits_its_nodes_slot(world: World) -> None:
    refs, _ = begun(world, 6, parallelism=2)
    (found,) = world.claim(refs[:1])
    _, following = world.record((found, world.answer(found)))
    assert [ref.kind for ref in following] == [Kind.NEWVMS]


def test_records_of_one_operation_from_two_threads(world: World) -> None:
    refs, operation = begun(world, 12, parallelism=12)
    claims = world.claim(refs)
    at_once(*[partial(world.record, (claim, world.answer(claim))) for claim in claims])
    row = world.operation(operation)
    assert (row.open_steps, row.in_flight) == (12, 12)
    assert set(world.states().values()) == {"leased"}
    seqs = [r.seq for r in world.rows("SELECT seq FROM svm.event ORDER BY seq")]
    assert seqs == list(range(1, row.seq + 1))


def test_an_operation_ends_once(world: World) -> None:
    refs, operation = begun(world, 8, parallelism=8)
    claims = world.claim(refs)
    at_once(*[partial(world.record, (claim, final())) for claim in claims])
    assert len(world.events(operation, "ended")) == 1
    assert world.operation(operation).outcome == "failed"


def test_a_transient_error_goes_back_to_held_and_frees_its_slot(world: World) -> None:
    refs, operation = begun(world, 3, parallelism=1)
    (first,) = world.claim(refs)
    _, following = world.record((first, transient(60)))
    assert [ref.id for ref in following] != [first.id]
    assert world.claim([first.id]) == []
    (row,) = world.rows("SELECT state, tries, error_code FROM svm.step WHERE id = :id", id=first.id)
    assert row == ("held", 1, "unreachable")
    (event,) = [e for e in world.events(operation, "step") if e.code]
    assert (event.node, event.ok, event.detail) == (first.node, None, {"again_in": 60.0})


def test_waking_an_operation_releases_what_is_due(world: World) -> None:
    refs, operation = begun(world, 1)
    (first,) = world.claim(refs)
    assert world.record((first, transient(3600)))[1] == []
    assert world.record(wake=[operation])[1] == []
    world.execute("UPDATE svm.step SET next_run_at = now() WHERE id = :id", id=first.id)
    (ref,) = world.record(wake=[operation])[1]
    (second,) = world.claim([ref])
    assert (second.id, second.tries, second.attempts) == (first.id, 1, 2)


def test_cancel_ends_what_has_not_begun(world: World) -> None:
    refs, operation = begun(world, 5, parallelism=2)
    (working,) = world.claim(refs[:1])
    with world.database.begin() as connection:
        assert cancel(connection, operation) == []
        assert cancel(connection, operation) == []
    assert world.operation(operation).open_steps == 1
    assert world.record((working, world.answer(working)))[1] == []
    row = world.operation(operation)
    assert (row.outcome, row.ok, row.failed) == ("cancelled", 0, 5)
    assert world.states()[str(working.node)] == "leased"
    assert {e.code for e in world.events(operation, "node")} == {"cancelled"}


def test_a_cancelled_step_is_not_tried_again(world: World) -> None:
    refs, operation = begun(world, 1)
    (working,) = world.claim(refs)
    with world.database.begin() as connection:
        cancel(connection, operation)
    world.record((working, transient()))
    assert world.operation(operation).outcome == "cancelled"


def test_what_cannot_be_cancelled(world: World) -> None:
    world.run(Verb.CREATESLICE)
    deletion = world.start(Verb.DELETESLICE)
    for operation, code in ((deletion.operation, Code.NOT_ALLOWED), (uuid4(), Code.NOT_FOUND)):
        with world.database.begin() as connection, pytest.raises(Refusal) as caught:
            cancel(connection, operation)
        assert caught.value.code is code


def test_nothing_but_deletion_is_claimed_once_it_has_begun(world: World) -> None:
    """The guard in the claim itself, for a step that the deletion somehow left open."""
    refs, operation = begun(world)
    world.execute("UPDATE svm.slice SET state = 'deleting'")
    assert world.claim(refs) == []
    assert operation


def test_delete_and_records_at_the_same_time(world: World) -> None:
    """Whichever comes first, no sliver is left behind and no counter is wrong."""
    for round_ in range(6):
        name = f"race{round_}"
        started = world.start(Verb.CREATESLICE, name, spec=SliceSpec(6, 3600))
        (ticket,) = world.claim(started.publish)
        _, refs = world.record((ticket, tickets([f"127.0.{round_}.{n}" for n in range(1, 7)])))
        claims = world.claim(refs)
        results = at_once(
            *[partial(world.record, (claim, world.answer(claim))) for claim in claims],
            partial(world.start, Verb.DELETESLICE, name),
        )
        assert set(world.states(name).values()) == {"deleting"}
        assert world.operation(started.operation).open_steps == 0
        world.finish(results[-1].publish)
        assert set(world.states(name).values()) == {"deleted"}
    assert world.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL") == []
    assert world.rows("SELECT 1 FROM svm.step WHERE ended_at IS NULL") == []


def test_two_users_or_two_windows_start_at_once(world: World) -> None:
    def begin() -> str:
        try:
            world.start(Verb.CREATESLICE)
        except Refusal as refusal:
            return refusal.code
        return "started"

    assert sorted(str(found) for found in at_once(*[begin] * 6)) == ["busy"] * 5 + ["started"]


def test_the_same_request_twice_at_once(world: World) -> None:
    world.run(Verb.CREATESLICE)

    def begin() -> object:
        with world.database.begin() as connection:
            return start(connection, wanted(Verb.RENEWSLICE, idempotency_key="k")).operation

    assert len(set(at_once(*[begin] * 4))) == 1


def test_a_key_added_while_vms_are_made_reaches_all_of_them(world: World) -> None:
    for round_ in range(4):
        name = f"keys{round_}"
        started = world.start(Verb.CREATESLICE, name, spec=SliceSpec(6, 3600))
        (ticket,) = world.claim(started.publish)
        _, refs = world.record((ticket, tickets([f"127.0.{round_}.{n}" for n in range(1, 7)])))
        _, refs = world.record(*[(claim, world.answer(claim)) for claim in world.claim(refs)])
        results = at_once(
            *[partial(world.record, (claim, world.answer(claim))) for claim in world.claim(refs)],
            partial(world.start, Verb.ADDKEY, name, keys=(KEY,)),
        )
        for result in results[:-1]:
            world.finish(result[1])
        world.finish(results[-1].publish)
        slow = """SELECT v.node FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
                  WHERE x.name = :name AND (v.state, v.key_generation) <> ('running', 1)"""
        assert world.rows(slow, name=name) == []


def test_where_messages_go(world: World) -> None:
    world.run(Verb.CREATESLICE, spec=SliceSpec(3, 3600))
    assert {ref.queue for ref in world.start(Verb.ADDKEY, keys=(KEY,)).publish} == {Queue.INTERACTIVE}
    renewal = world.start(Verb.RENEWSLICE, actor="beat", nodes=("127.0.1.1",))
    assert {ref.queue for ref in renewal.publish} == {Queue.RENEWALS}
    big = world.start(Verb.CREATESLICE, "big", spec=SliceSpec(65, 3600))
    assert [ref.batch for ref in big.publish] == [16]


@pytest.mark.parametrize("verb", [Verb.CREATESLICE, Verb.CLEAN])
def test_the_same_request_sent_twice_at_once_is_one_operation(world: World, verb: Verb) -> None:
    def ask() -> UUID:
        with world.database.begin() as connection:
            asked = wanted(verb, "" if verb is Verb.CLEAN else "demo", idempotency_key="k")
            return start(connection, asked).operation

    assert len(set(at_once(*[ask] * 8))) == 1
    assert len(world.rows("SELECT 1 FROM svm.operation")) == 1


def test_what_is_said_of_a_deletion_under_way_can_be_done(world: World) -> None:
    world.run(Verb.CREATESLICE)
    deletion = world.start(Verb.DELETESLICE)
    with pytest.raises(Refusal) as refused:
        world.start(Verb.DELETESLICE)
    assert refused.value.code is Code.BUSY
    assert "svm watch demo" in refused.value.reason
    assert "svm cancel" not in refused.value.reason
    with world.database.begin() as connection, pytest.raises(Refusal, match="svm watch"):
        cancel(connection, deletion.operation)
