"""The slice's own key pair: a newer one takes an older one's place, and never the other way round."""

import sqlite3
from pathlib import Path

import pytest

from nodemgr.slicekey import SlicePair
from nodemgr.storage.store import Store
from tests.unit.nodemgr.world import (
    NODE,
    OTHER_ID,
    OTHER_USER,
    SLICE,
    SLICE_ID,
    SLICE_KEYS,
    World,
    only,
    refused,
)
from trust.documents import DelegationKind
from trust.errors import Code
from trust.sshkeys import parse_public_key

OLD, NEW = (parse_public_key(public) for _, public in SLICE_KEYS)


def pair(generation: int, number: int = 1) -> SlicePair:
    return SlicePair(generation, *SLICE_KEYS[number])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_newer_pair_opens_and_the_old_one_does_not(world: World) -> None:
    await world.running()
    assert await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(1)) == 1
    access = world.node.lookup(SLICE)
    assert access is not None
    assert access.slice_key.blob == NEW.blob
    assert world.closer.closed == [(SLICE, (OLD.fingerprint,))]


async def test_the_same_again_changes_nothing(world: World) -> None:
    await world.running()
    for _ in range(2):
        assert await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(3)) == 3
    assert len(world.closer.closed) == 1
    world.restart()
    assert (only(world).pair_generation, only(world).slice_key) == (3, NEW.line)


async def test_an_older_pair_never_comes_back(world: World) -> None:
    """From a worker that slept past its claim, by either call."""
    lease = await world.running()
    await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(2))
    with refused(Code.STALE_GENERATION) as caught:
        await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(1, 0))
    assert caught.refusal.detail == {"generation": 2}
    with refused(Code.STALE_GENERATION):
        await world.node.create(world.svm(), SLICE, lease.token, *SLICE_KEYS[0], 1)
    assert only(world).slice_key == NEW.line


async def test_who_may_and_on_what(world: World) -> None:
    with refused(Code.NOT_FOUND):
        await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(1))
    world.leased()
    with refused(Code.NOT_FOUND):  # no VM yet
        await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(1))
    await world.node.create(world.user(), SLICE, only(world).token, *SLICE_KEYS[0])
    with refused(Code.NOT_FOUND):
        await world.node.set_pair(world.svm(), SLICE, OTHER_ID, pair(1))
    with refused(Code.NOT_OWNER):
        await world.node.set_pair(world.user(OTHER_USER), SLICE, SLICE_ID, pair(1))
    with refused(Code.NOT_ALLOWED):  # one that lets renew only
        await world.node.set_pair(world.svm(kind=DelegationKind.STANDING), SLICE, SLICE_ID, pair(1))
    with refused(Code.BAD_INPUT):
        await world.node.set_pair(world.svm(), SLICE, SLICE_ID, SlicePair(1, SLICE_KEYS[0][0], SLICE_KEYS[1][1]))
    assert only(world).pair_generation == 0


async def test_a_driver_that_fails_leaves_the_pair_that_was(world: World) -> None:
    await world.running()
    world.driver.failing = "the disk is full"
    with refused(Code.INTERNAL):
        await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(1))
    assert (only(world).pair_generation, only(world).slice_key) == (0, OLD.line)
    world.driver.failing = None
    assert await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(1)) == 1


async def test_a_store_from_before_is_brought_up_to_date(world: World) -> None:
    await world.running()
    world.store.close()
    path = world.folder / "node.db"
    with sqlite3.connect(path) as connection:
        for table, column in (("lease", "pair_generation"), ("lease", "needs"), ("removal", "needs")):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("DROP INDEX burnt_owner")
        connection.execute("DROP TABLE power")
        connection.execute("DROP TABLE interval")
        connection.execute("ALTER TABLE past DROP COLUMN owner")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    for _ in range(2):
        store = Store(path, NODE)
        (row,) = store.leases()
        assert (row.pair_generation, row.slice_key, row.state) == (0, OLD.line, "running")
        store.close()
    world.start()
    assert await world.node.set_pair(world.svm(), SLICE, SLICE_ID, pair(1)) == 1
    world.store.close()
