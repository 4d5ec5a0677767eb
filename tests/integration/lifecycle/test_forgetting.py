"""What ended long ago is forgotten, whole; what somebody may still ask for is not."""

import pytest

from lifecycle.retention import forget
from models.states import Verb
from tests.integration.lifecycle.world import World

YEAR = 365


def later(world: World, days: int) -> None:
    """As if all that has ended had ended so many days ago."""
    for table in ("operation", "slice"):
        world.execute(f"UPDATE svm.{table} SET ended_at = ended_at - make_interval(days => :d)", d=days)  # noqa: S608


def forgotten(world: World) -> None:
    with world.database.begin() as connection:
        forget(connection, YEAR)


def count(world: World, table: str) -> int:
    return int(world.rows(f"SELECT count(*) FROM svm.{table}")[0][0])  # noqa: S608 - a test's own word


def test_a_living_slice_loses_its_oldest_operations_and_nothing_else(world: World) -> None:
    world.run(Verb.CREATESLICE)
    later(world, YEAR + 1)
    renewed = world.run(Verb.RENEWSLICE)
    states = world.states()
    forgotten(world)
    assert [row.id for row in world.rows("SELECT id FROM svm.operation")] == [renewed.operation]
    assert {row.operation for row in world.rows("SELECT operation FROM svm.event")} == {renewed.operation}
    assert {row.operation for row in world.rows("SELECT operation FROM svm.step")} == {renewed.operation}
    assert world.states() == states


def test_what_goes_on_is_not_forgotten_however_old(world: World) -> None:
    started = world.start(Verb.CREATESLICE)
    world.execute("UPDATE svm.operation SET started_at = now() - interval '2 years'")
    forgotten(world)
    assert world.operation(started.operation).ended_at is None
    assert world.finish(started.publish)


@pytest.mark.parametrize(("days", "left"), [(YEAR - 1, 1), (YEAR + 1, 0)])
def test_a_deleted_slice_goes_with_all_that_belongs_to_it(world: World, days: int, left: int) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.DELETESLICE)
    assert world.rows("SELECT state FROM svm.slice") == [("deleted",)]
    world.execute("UPDATE svm.slice SET released_at = now()")
    later(world, days)
    forgotten(world)
    assert count(world, "slice") == left
    for table in ("operation", "step", "event", "sliver"):
        assert bool(count(world, table)) is bool(left), table


def test_a_deleted_slice_stays_while_plc_does_not_have_its_name_back(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.DELETESLICE)
    world.execute("UPDATE svm.slice SET released_at = NULL, slice_id = gen_random_uuid()")
    later(world, 2 * YEAR)
    forgotten(world)
    assert count(world, "slice") == 1


def test_a_deleted_slice_stays_while_its_last_operation_is_young(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.run(Verb.DELETESLICE)
    world.execute("UPDATE svm.slice SET released_at = now(), ended_at = now() - interval '2 years'")
    forgotten(world)
    assert count(world, "slice") == 1
    assert count(world, "operation") == 2


def test_a_node_that_is_long_gone_is_forgotten_with_what_was_found_there(world: World) -> None:
    world.run(Verb.CREATESLICE)
    world.execute("INSERT INTO svm.node (node, node_name, api) VALUES ('127.0.1.77', 'n', 'https://n')")
    for node in ("127.0.1.1", "127.0.1.77"):
        world.execute("INSERT INTO svm.finding (node, slice_name, what) VALUES (:n, 'demo', 'orphan')", n=node)
    world.execute("UPDATE svm.node SET seen_at = now() - interval '2 years'")
    forgotten(world)
    assert world.rows("SELECT node FROM svm.node ORDER BY node") == [(f"127.0.1.{n}",) for n in range(1, 5)]
    assert world.rows("SELECT node FROM svm.finding") == [("127.0.1.1",)]
