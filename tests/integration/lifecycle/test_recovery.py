"""What is lost with a message or a worker is found in the tables, and published again."""

from lifecycle.operations import SliceSpec
from lifecycle.recovery import refill, refillable, republish
from lifecycle.steps import StepRef
from models.states import Verb
from tests.integration.lifecycle.world import World, transient

AGAIN = 60


def found(world: World) -> tuple[list[StepRef], int]:
    """What is published again now, and how many of it had lapsed claims."""
    with world.database.begin() as connection:
        return republish(connection, AGAIN)


def published_before(world: World, seconds: int) -> None:
    world.execute("UPDATE svm.step SET published_at = now() - make_interval(secs => :s)", s=seconds)


def test_a_step_whose_message_was_lost(world: World) -> None:
    """Found when nobody has taken it for a minute; the next time after two."""
    published = world.start(Verb.CREATESLICE, spec=SliceSpec(1, 3600)).publish
    assert found(world) == ([], 0)
    published_before(world, AGAIN + 1)
    assert found(world) == (published, 0)
    published_before(world, AGAIN + 1)
    assert found(world) == ([], 0)
    published_before(world, 2 * AGAIN + 1)
    assert found(world) == (published, 0)


def test_a_step_whose_worker_died(world: World) -> None:
    published = world.start(Verb.CREATESLICE, spec=SliceSpec(1, 3600)).publish
    world.claim(published, seconds=30)
    published_before(world, AGAIN + 1)
    assert found(world) == ([], 0)
    world.execute("UPDATE svm.step SET claim_until = now() - interval '1 s'")
    assert found(world) == (published, 1)


def test_a_step_that_backed_off_in_a_worker_that_died(world: World) -> None:
    started = world.start(Verb.CREATESLICE, spec=SliceSpec(1, 3600))
    (claim,) = world.claim(started.publish)
    world.record((claim, transient(3600)))
    assert refilled(world) == []
    world.execute("UPDATE svm.step SET next_run_at = now()")
    assert refilled(world) == started.publish


def test_an_operation_whose_counters_are_wrong(world: World) -> None:
    """Whatever made them so, it goes on with the right ones."""
    operation = world.start(Verb.CREATESLICE, spec=SliceSpec(1, 3600)).operation
    world.execute("UPDATE svm.operation SET open_steps = 0, in_flight = 0")
    assert refilled(world) == []
    row = world.operation(operation)
    assert (row.open_steps, row.in_flight, row.ended_at) == (1, 1, None)


def refilled(world: World) -> list[StepRef]:
    with world.database.begin() as connection:
        return refill(connection, refillable(connection))
