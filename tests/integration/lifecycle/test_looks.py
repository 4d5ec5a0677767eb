"""What a look costs does not grow with what was once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import event as listen

from lifecycle.events import history
from lifecycle.inventory import Answer, expected, nodes, places
from models.states import Verb
from svm.service.reads import even_if_gone
from tests.integration.lifecycle.world import OWNER, World


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    listen.listen(world.database, "before_cursor_execute", note)
    yield sent
    listen.remove(world.database, "before_cursor_execute", note)


def test_a_history_of_many_operations_is_two_statements(world: World) -> None:
    world.run(Verb.CREATESLICE)
    for _ in range(10):
        world.run(Verb.RENEWSLICE)
    with statements(world) as sent, world.database.connect() as connection:
        told = history(connection, even_if_gone(connection, "demo", OWNER).id)
    assert {verb for _, verb in told} == {Verb.CREATESLICE, Verb.RENEWSLICE}
    assert len(sent) == 2


def test_the_history_of_a_slice_that_is_gone_is_its_last_ones(world: World) -> None:
    for _ in range(2):
        world.run(Verb.CREATESLICE)
        world.run(Verb.DELETESLICE)
    with world.database.connect() as connection:
        found = even_if_gone(connection, "demo", OWNER)
    assert [found.id] == [row.id for row in world.rows("SELECT id FROM svm.slice ORDER BY created_at DESC LIMIT 1")]


def test_reconcile_looks_at_what_is_there_or_is_to_be(world: World) -> None:
    for number in range(5):
        world.run(Verb.CREATESLICE, f"slice{number}")
        if number:
            world.run(Verb.DELETESLICE, f"slice{number}")
    (old,) = world.rows("SELECT slice_id FROM svm.slice WHERE name = 'slice3'")
    asked = [Answer("127.0.1.1", datetime.now(UTC), there) for there in ((), (old.slice_id,))]
    with world.database.connect() as connection:
        names = [[row.name for row in rows] for rows in expected(connection, asked)]
    assert names == [["slice0"], ["slice0", "slice3"]]


def test_a_node_is_asked_from_its_first_ticket_on_where_that_said_it_is(world: World) -> None:
    """Without a round of reconcile since then, also when all that it had was deleted."""
    world.run(Verb.CREATESLICE)
    world.execute("UPDATE svm.node SET api = 'https://elsewhere.test'")
    world.run(Verb.CREATESLICE, "other")
    world.run(Verb.DELETESLICE)
    world.run(Verb.DELETESLICE, "other")
    with world.database.connect() as connection:
        asked = nodes(connection)
        found = places(connection, [*asked, "127.0.9.9"])
    assert asked == [f"127.0.1.{number}" for number in range(1, 5)]
    assert found[-1] is None
    assert "https://elsewhere.test" not in [place.api for place in found if place]
