"""One group commit, several records of one sliver: each is applied to what the one before it left."""

import pytest

from lifecycle.inventory import Finding, answered
from lifecycle.outcome import Claim, Done, Failed
from lifecycle.record import Change
from models.states import Kind, Verb
from tests.integration.lifecycle.world import KEY, World, final, lapsed, tickets
from trust.errors import Code

NODE = "127.0.1.1"
SLIVER = "SELECT * FROM svm.sliver WHERE node = '127.0.1.1'"
UNREACHABLE, BUSY = final(), final(Code.BUSY, "busy: try again")


def both(world: World) -> tuple[Claim, Claim]:
    """The steps of a renewal and of an addkey on one sliver of a running slice, both taken."""
    world.run(Verb.CREATESLICE)
    renewal, keys = world.start(Verb.RENEWSLICE), world.start(Verb.ADDKEY, keys=(KEY,))
    (renew,) = [found for found in world.claim(renewal.publish) if found.node == NODE]
    (addkey,) = [found for found in world.claim(keys.publish) if found.node == NODE]
    return renew, addkey


@pytest.mark.parametrize("turned", [False, True])
def test_a_renewal_and_a_key_of_one_sliver_are_both_kept(world: World, turned: bool) -> None:
    renew, addkey = both(world)
    renewed = world.answer(renew)
    records = [(renew, renewed), (addkey, Done(key_generation=1))]
    assert world.record(*(reversed(records) if turned else records))[0] == [True, True]
    (sliver,) = world.rows(SLIVER)
    assert (sliver.generation, sliver.expires_at, sliver.key_generation) == (2, renewed.expires_at, 1)
    for claim in (renew, addkey):
        (told,) = [event for event in world.events(claim.operation, "node") if event.node == NODE]
        assert (told.before, told.after, told.ok) == ("running", "running", True)


def test_two_failures_of_one_sliver_both_count_and_the_later_is_shown(world: World) -> None:
    renew, addkey = both(world)
    world.record((renew, UNREACHABLE), (addkey, BUSY))
    (sliver,) = world.rows(SLIVER)
    assert (sliver.attempts, sliver.error_code, sliver.last_error) == (2, "busy", "busy: try again")


@pytest.mark.parametrize("failed_last", [False, True])
def test_a_failure_and_a_success_of_one_sliver_come_in_their_order(world: World, failed_last: bool) -> None:
    renew, addkey = both(world)
    records: list[tuple[Claim, Done | Failed]] = [(addkey, BUSY), (renew, world.answer(renew))]
    world.record(*(reversed(records) if failed_last else records))
    (sliver,) = world.rows(SLIVER)
    assert (sliver.generation, sliver.error_code) == (2, "busy" if failed_last else None)


@pytest.mark.parametrize("turned", [False, True])
def test_a_step_that_comes_twice_is_recorded_under_its_claim_alone(world: World, turned: bool) -> None:
    renew, _ = both(world)
    records = [(renew, world.answer(renew)), (lapsed(renew), UNREACHABLE)]
    ours = world.record(*(reversed(records) if turned else records))[0]
    assert ours == ([False, True] if turned else [True, False])
    assert world.rows(SLIVER)[0].generation == 2
    assert world.operation(renew.operation).open_steps == 3


def test_the_same_record_twice_counts_once(world: World) -> None:
    renew, _ = both(world)
    assert world.record((renew, UNREACHABLE), (renew, UNREACHABLE))[0] == [True, False]
    assert world.operation(renew.operation).failed == 1
    assert world.rows(SLIVER)[0].attempts == 1


def test_agents_that_both_give_the_same_node_cost_one_ticket_and_no_more(world: World) -> None:
    started = world.start(Verb.CREATESLICE)
    (ask,) = world.claim(started.publish)
    nodes = ["127.0.1.1", "127.0.1.1", "127.0.1.2", "127.0.1.3"]
    world.record((ask, tickets(nodes)))
    assert world.states() == dict.fromkeys(dict.fromkeys(nodes), "ticketed")


def test_reconcile_writes_down_a_key_and_a_renewal_of_one_sliver(world: World) -> None:
    renew, _ = both(world)
    renewed, found = world.answer(renew), renew.slice
    assert found
    assert isinstance(renewed, Done)
    pushed = Change(found.id, NODE, Kind.ADDKEY, key_generation=1)
    lease = Change(found.id, NODE, Kind.RENEW, renewed.lease, renewed.generation, renewed.expires_at)
    twice = [Finding("demo", "orphan", found.id)] * 2
    with world.database.begin() as connection:
        answered(connection, NODE, [], [pushed, lease], twice)
    (sliver,) = world.rows(SLIVER)
    assert (sliver.generation, sliver.key_generation) == (2, 1)
    assert len(world.rows("SELECT 1 FROM svm.finding")) == 1
