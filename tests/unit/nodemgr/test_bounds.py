"""How many rows anybody can make in a node's store: a bound for every table."""

import re
import sqlite3
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from nodemgr.storage import store as tables
from nodemgr.storage.power import Power
from nodemgr.storage.schema import INTERVAL, SCHEMA
from tests.unit.nodemgr.world import CAPACITY, OTHER_USER, SLICE, World, refused
from tests.unit.trust.factories import AGENT, NODE, NOW, SLICE_ID, USER
from trust.documents import SKEW, TICKET_LIFETIME
from trust.errors import Code

BOUNDS = {
    "node": "one row",
    "lease": "the node's places: admission counts them",
    "removal": "the node's places: what is still to be removed keeps its own",
    "burnt": "SHOWN_OF_OWNER and UNSHOWN_OF_OWNER rows an owner",
    "past": "PAST_OF_OWNER rows an owner",
    "power": "of leases, and of what is in `past`",
    "interval": "OF_OWNER rows an owner that plc knows, and what was leased since it heard last",
    "stopped": "the owners whom plc has stopped: its accounts",
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("SHOWN", 6), ("UNSHOWN", 4), ("PAST", 3)):
        monkeypatch.setattr(tables, f"{name}_OF_OWNER", most)


def count(world: World, table: str) -> int:
    return len(world.store._file.rows(f"SELECT * FROM {table}"))  # noqa: S608  # one of `BOUNDS`


def test_every_table_has_a_bound(world: World) -> None:
    found = world.store._file.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")
    assert {name for (name,) in found} == BOUNDS.keys()


async def test_who_is_no_pi_makes_a_bounded_number_of_rows_and_pushes_nobody_out(world: World) -> None:
    await world.running("real")
    stranger = world.user(OTHER_USER, pi=False)
    for number in range(4):
        await world.node.delete(stranger, f"any{number}", uuid4(), f"made-up-{number}")
    for number in range(4, 30):
        with refused(Code.BUSY):
            await world.node.delete(stranger, f"any{number}", uuid4(), f"made-up-{number}")
    assert count(world, "burnt") == 1 + 4
    told = world.store.recently_burnt(AGENT, NOW, 3)
    assert told[0] == "real"
    with refused(Code.TICKET_EXPIRED):
        world.leased("made-up-1", owner=OTHER_USER, slice="other")  # what was burnt stays burnt
    await world.node.delete(world.user(), SLICE, SLICE_ID, "never-shown")  # another owner's place is his own
    assert world.store.burnt("never-shown", USER) is not None


async def test_what_is_deleted_goes_even_when_its_ticket_cannot_be_remembered(world: World) -> None:
    await world.running("real")
    for number in range(4):
        await world.node.delete(world.user(), "any", uuid4(), f"made-up-{number}")
    with refused(Code.BUSY) as caught:
        await world.node.delete(world.user(), SLICE, SLICE_ID, "never-shown")
    assert "try again in an hour" in caught.refusal.reason
    assert (world.store.leases(), await world.driver.list()) == ([], {})
    world.clock.forward(TICKET_LIFETIME + 2 * SKEW + 1)
    await world.node.delete(world.user(), SLICE, SLICE_ID, "never-shown")  # the cure
    assert count(world, "burnt") == 2


def test_tickets_that_were_used_have_a_bound_of_their_own(world: World) -> None:
    for number in range(6):
        world.leased(f"t-{number}")
    with refused(Code.BUSY):
        world.leased("t-6")
    assert world.leased("t-5").generation == 6  # known already
    assert world.store.leases()[0].jti == "t-5"
    world.clock.forward(TICKET_LIFETIME + SKEW + 1)
    assert world.leased("t-7").generation == 7
    assert {row[0] for row in world.store._file.rows("SELECT jti FROM burnt")} == {"t-5", "t-7"}


def test_of_each_owner_an_agent_is_told_as_much_as_of_the_others(world: World) -> None:
    for number in range(5):
        world.store.burn(tables.Burnt(f"a-{number}", USER, AGENT, SLICE_ID, NOW + timedelta(seconds=100 + number)))
    world.store.burn(tables.Burnt("b", OTHER_USER, AGENT, SLICE_ID, NOW + timedelta(seconds=1)))
    world.store.burn(tables.Burnt("x", OTHER_USER, None, SLICE_ID, NOW + timedelta(seconds=1_000)))
    assert set(world.store.recently_burnt(AGENT, NOW, 2)) == {"a-4", "b"}
    assert world.store.recently_burnt(AGENT, NOW, 10)[-1] == "x"


async def test_leases_that_are_gone(world: World) -> None:
    for number in range(5):
        slice_id = UUID(int=number + 1)
        world.leased(f"t-{number}", slice_id=slice_id)
        world.clock.forward(1)
        world.store.set_power(slice_id, Power(1))
        await world.node.delete(world.user(), SLICE, slice_id, f"t-{number}")
    assert (count(world, "past"), count(world, "power")) == (3, 3)
    assert [world.store.past_generation(UUID(int=number + 1)) for number in range(5)] == [0, 0, 1, 1, 1]


async def test_leases_and_removals_are_bounded_by_the_nodes_places(world: World) -> None:
    world.driver.failing = None
    names = [f"s{number}" for number in range(CAPACITY.places)]
    for number, name in enumerate(names):
        await world.running(f"t-{number}", slice=name, slice_id=UUID(int=number + 1))
    with refused(Code.OVER_CAPACITY):
        world.leased("t-9", slice="more", slice_id=UUID(int=99))
    world.driver.failing = "stuck"
    for number, name in enumerate(names):
        with refused(Code.INTERNAL):
            await world.node.delete(world.user(), name, UUID(int=number + 1), None)
    with refused(Code.OVER_CAPACITY):
        world.leased("t-9", slice="more", slice_id=UUID(int=99))
    assert (count(world, "lease"), count(world, "removal")) == (0, CAPACITY.places)


def test_an_older_store_is_taken_over(tmp_path, world: World) -> None:  # type: ignore[no-untyped-def]
    old = SCHEMA.replace(INTERVAL, "").replace(",\n    owner      TEXT NOT NULL DEFAULT ''", "")
    old = old.replace("CREATE INDEX burnt_owner ON burnt (owner, agent);\n", "")
    old = re.sub(r"CREATE TABLE power .*?;\n", "", old, flags=re.DOTALL)
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript(f"{old} PRAGMA user_version = 2")
        for table in ("lease", "removal"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN needs")
        connection.execute("INSERT INTO node VALUES (?)", [NODE.uri])
        connection.execute("INSERT INTO past VALUES (?, 7, 1)", [str(SLICE_ID)])
    connection.close()
    store = tables.Store(tmp_path / "old.db", NODE)
    assert store.past_generation(SLICE_ID) == 7
    assert store._file.rows("SELECT name FROM sqlite_schema WHERE name = 'burnt_owner'") == [("burnt_owner",)]
    store.close()
