"""Migrations: models and revisions agree, two migrations at once do no harm, what the triggers refuse is refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError

from lifecycle.letters import deadline_of
from lifecycle.notices import announce
from lifecycle.operations import SliceSpec
from lifecycle.outbox import take
from models.database import SCHEMAS, Schema, check, config, migrate
from models.states import Verb
from tests.integration.lifecycle.world import World


@pytest.mark.parametrize("schema", SCHEMAS)
def test_models_and_revisions_agree(schema: Schema, fresh_database: Callable[..., str]) -> None:
    url = fresh_database(schema)
    migrate(url, schema)
    assert check(url, schema) == []


def test_check_sees_a_difference(database: Engine, database_url: str) -> None:
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE svm.step DROP COLUMN publishes"))
    assert any("publishes" in difference for difference in check(database_url, "svm"))


def test_what_is_stopped_comes_through_the_way_back_and_forth(database: Engine, database_url: str) -> None:
    """Before svm_0008 such a sliver was leased; one that had ended said when."""
    world = World(database)
    world.run(Verb.CREATESLICE)
    world.run(Verb.STOP, nodes=("127.0.1.1",))
    with database.begin() as connection:
        command.downgrade(config("svm", connection), "svm_0007")
    (before,) = world.rows("SELECT state, stopped_at IS NOT NULL FROM svm.sliver WHERE node = '127.0.1.1'")
    assert before == ("leased", True)
    migrate(database_url, "svm")
    assert check(database_url, "svm") == []
    assert world.states() == {"127.0.1.1": "stopped"} | {f"127.0.1.{n}": "running" for n in (2, 3, 4)}
    world.run(Verb.START)
    assert set(world.states().values()) == {"running"}


def test_a_letter_that_waits_comes_through_the_way_back_and_forth(database: Engine, database_url: str) -> None:
    """Before svm_0012 its tries stood with the deadline that it tells of."""
    world = World(database)
    world.run(Verb.CREATESLICE, "waits", spec=SliceSpec(1, 7 * 86_400))
    world.run(Verb.CREATESLICE, "gone", spec=SliceSpec(1, 7 * 86_400))
    world.execute("UPDATE svm.sliver SET expires_at = now() + interval '20 hours' + random() * interval '1 hour'")
    with database.begin() as connection:
        announce(connection)
    world.execute("""UPDATE svm.delivery SET sent_at = now(), attempts = 1
                     WHERE slice = (SELECT id FROM svm.slice WHERE name = 'gone')""")
    with database.begin() as connection:
        command.downgrade(config("svm", connection), "svm_0011")
    sent = "SELECT x.name, n.sent_at IS NOT NULL FROM svm.notice n JOIN svm.slice x ON x.id = n.slice ORDER BY x.name"
    assert world.rows(sent) == [("gone", True), ("waits", False)]
    migrate(database_url, "svm")
    assert check(database_url, "svm") == []
    with database.begin() as connection:
        (one,) = take(connection, letters=True)
    (row,) = world.rows("SELECT deadline FROM svm.notice WHERE slice = :s", s=one.slice)
    assert (one.name, one.about, deadline_of(one)) == ("waits", "lease", row.deadline)


def test_two_migrations_at_once(fresh_database: Callable[..., str]) -> None:
    url = fresh_database("svm")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: migrate(url, "svm"), range(2)))
    assert check(url, "svm") == []


def test_a_generation_never_falls(database: Engine) -> None:
    world = World(database)
    world.run(Verb.CREATESLICE)
    with pytest.raises(DatabaseError, match="would fall from 1 to 0"):
        world.execute("UPDATE svm.sliver SET generation = 0, state = 'expired' WHERE node = '127.0.1.1'")


@pytest.mark.parametrize("change", ["UPDATE svm.event SET ok = true", "DELETE FROM svm.event"])
def test_events_are_only_added(database: Engine, change: str) -> None:
    world = World(database)
    world.run(Verb.CREATESLICE)
    with pytest.raises(DatabaseError, match="only added"):
        world.execute(change)


def test_removing_a_slice_takes_its_events_along(database: Engine) -> None:
    world = World(database)
    world.run(Verb.CREATESLICE)
    world.execute("DELETE FROM svm.slice")
    assert world.rows("SELECT 1 FROM svm.event") == []
