"""Tables and stores of every version that landed, as this one finds them: brought up, and nothing of them lost."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from sqlalchemy import Engine

from lifecycle.events import history
from lifecycle.operations import OperationRequest, Verb, start
from lifecycle.presence import enter
from lifecycle.slices import find, keys, slivers
from lifecycle.upgrading import upgrade, wait_for_tables
from models.database import Schema, check, engine, migrate, outdated
from models.states import SliverState
from nodemgr.storage.schema import VERSION
from nodemgr.storage.store import Store
from tests.integration.upgrades.make import LANDED, NODES, SAVED
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.needs import NOTHING, Needs

Row = dict[str, Any]

ALPHA, BETA, GAMMA = (UUID(int=number) for number in (1, 2, 3))
ALICE = Identity.user("alice@example.org")
SCHEMAS = [(schema, revision) for schema, revisions in LANDED.items() for revision in revisions]
LAST = max(LANDED["svm"])


@pytest.fixture
def saved(fresh_database: Callable[..., str]) -> Callable[[str, int], str]:
    """The URL of a database with the tables of an earlier version, and what stood in them."""

    def load(schema: str, revision: int) -> str:
        url = fresh_database(schema)
        with psycopg.connect(plain(url)) as connection:
            connection.execute((SAVED / f"{schema}_{revision:04}.sql").read_bytes())
        return url

    return load


@pytest.fixture
def database(saved: Callable[[str, int], str]) -> Iterator[Engine]:
    """svm's of the version before this one, as a worker would open it."""
    made = engine(saved("svm", LAST))
    yield made
    made.dispose()


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


def contents(url: str, schema: str) -> dict[str, list[Row]]:
    """Every row of every table, but for the revision's."""
    with psycopg.connect(plain(url), row_factory=dict_row) as connection:
        named = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
        tables = [row["tablename"] for row in named if row["tablename"] != "alembic_version"]
        query = SQL("SELECT * FROM {}.{}")
        return {
            table: connection.execute(query.format(Identifier(schema), Identifier(table))).fetchall()
            for table in tables
        }


def as_now(table: str, row: Row) -> Row | None:
    """What an earlier version's row is called today; None: what is left out on purpose."""
    if table == "sliver" and "stopped_at" in row:  # svm_0008
        died = row.pop("stopped_at")
        return row | {"died_at": died, "state": "stopped" if died else row["state"]}
    if table == "notice":  # svm_0012 keeps in `delivery` what waits to be sent
        return {column: value for column, value in row.items() if column not in ("sent_at", "tried_at")}
    if table == "ticket" and row["state"] == "burnt":  # agent_0002
        return None
    return row


@pytest.mark.parametrize(("schema", "revision"), SCHEMAS)
def test_a_schema_comes_up_with_all_that_stood_in_it(
    schema: Schema, revision: int, saved: Callable[[str, int], str]
) -> None:
    """And svmd goes on with its slices."""
    url = saved(schema, revision)
    before = contents(url, schema)
    assert sum(map(len, before.values())) >= 5
    if schema == "svm":
        upgrade(url)
    else:
        migrate(url, schema)
    assert check(url, schema) == []
    after = contents(url, schema)
    for table, rows in before.items():
        for row in rows:
            wanted = as_now(table, row)
            assert wanted is None or any(there | wanted == there for there in after[table]), row
    waiting = [row["deadline"].isoformat() for row in before.get("notice", ()) if row.get("sent_at", row) is None]
    waiting += deadlines(before)
    assert deadlines(after) == waiting
    if schema == "svm":
        svmd_goes_on(url, revision)


def deadlines(tables: dict[str, list[Row]]) -> list[str]:
    """Of letters that wait to be sent, where they wait from svm_0012 on."""
    return [datetime.fromisoformat(row["body"]["deadline"]).isoformat() for row in tables.get("delivery", ())]


def svmd_goes_on(url: str, revision: int) -> None:
    made = engine(url, connections=1)
    with made.begin() as connection:
        alpha = find(connection, "alpha", ALICE)
        assert (alpha.slice_id, alpha.heal, alpha.nodes["running"]) == (ALPHA, True, 2)
        assert alpha.needs == (Needs(memory_mb=512) if revision >= 9 else NOTHING)
        states = [each.state for each in slivers(connection, alpha.id)]
        last = SliverState.STOPPED if revision >= 4 else SliverState.LEASED
        assert states == [SliverState(word) for word in ("running", "running", "leased", "ticketed", "expired")] + [
            last
        ]
        assert keys(connection, alpha.id) == ["ssh-ed25519 AAAA"]
        assert len(history(connection, alpha.id)) == 2
        started = start(connection, OperationRequest(Verb.RENEWSLICE, "alpha", ALICE))
        assert started.publish
    made.dispose()


@pytest.mark.parametrize("version", NODES)
def test_a_nodes_store_comes_up_with_all_that_stood_in_it(version: int, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    file = sqlite3.connect(path)
    file.executescript((SAVED / f"node_{version:04}.sql").read_text())
    file.close()
    store = Store(path, Identity(Role.NODE, "n1"))
    try:
        (lease,) = store.leases()
        assert (lease.slice, lease.slice_id, lease.owner, lease.generation) == ("alpha", ALPHA, ALICE, 2)
        assert (lease.state, lease.keys) == ("running", ("ssh-ed25519 AAAA",))
        assert (lease.pair_generation, lease.needs) == (
            int(version >= 2),
            Needs(memory_mb=512) if version >= 5 else NOTHING,
        )
        assert store.removals() == [("beta", BETA)]
        assert store.past_generation(GAMMA) == 7
        assert store.burnt("jti-1", ALICE) is not None
        assert (store.power(ALPHA).ordered_at > 0) == (version >= 7)
    finally:
        store.close()
    file = sqlite3.connect(path)
    assert file.execute("PRAGMA user_version").fetchone() == (VERSION,)
    file.close()


def test_svmd_changes_no_table_under_a_worker(database: Engine) -> None:
    """One of an earlier version holds the same lock; it knows nothing of what this one would make."""
    url = database.url.render_as_string(hide_password=False)
    with database.connect() as worker:
        enter(worker)
        with pytest.raises(Refusal, match="1 worker of an earlier version still runs: stop it") as caught:
            upgrade(url)
        assert caught.value.code is Code.BUSY
        assert outdated(worker, "svm") is True
        worker.invalidate()
    upgrade(url)
    with database.connect() as connection:
        assert outdated(connection, "svm") is False
        enter(connection)
        upgrade(url)  # a restart of svmd, beside a worker of its own version
        connection.invalidate()


def test_a_worker_waits_until_svmd_has_brought_the_tables_up(database: Engine) -> None:
    stop, found = Event(), list[bool]()
    waiting = Thread(target=lambda: found.append(wait_for_tables(database, stop)))
    waiting.start()
    upgrade(database.url.render_as_string(hide_password=False))
    waiting.join(60)
    assert found == [True]


def test_a_worker_that_waits_may_be_told_to_stop(database: Engine) -> None:
    stop = Event()
    stop.set()
    assert wait_for_tables(database, stop) is False


def test_a_worker_does_not_begin_on_tables_of_a_newer_version(database: Engine) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE svm.alembic_version SET version_num = 'svm_9999'")
    with pytest.raises(Refusal, match=r"schema svm was made by a newer version of dslice .*: install that one"):
        wait_for_tables(database, Event())
