"""Who takes the disk, and what a node says of it."""

import math
import sqlite3
from typing import Any
from uuid import UUID

import pytest

from nodemgr.advertise import Location, advertisement
from nodemgr.expiry import recover
from nodemgr.stops import stop_owners
from nodemgr.storage.disk import Disk
from nodemgr.watch import GROWN_KIB, Watch, taker
from rpc.problems import from_problem, to_problem
from tests.unit.nodemgr.test_around import door
from tests.unit.nodemgr.world import OTHER_ID, SLICE, SLICE_KEYS, USER_KEYS, World, refused
from tests.unit.trust.factories import SLICE_ID, USER
from trust.errors import Code, Refusal

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)
FLOOR = 10 * GROWN_KIB
PLACE = Location.of("127.0.1.1", 2280, "Princeton", door())


def full(world: World) -> Disk:
    """A disk whose floor nothing can reach."""
    return Disk(world.folder, 1 << 40)


@pytest.mark.parametrize(
    ("before", "now", "spared", "wanted"),
    [
        ({}, {}, (), None),
        ({A: 0, B: 0}, {A: GROWN_KIB, B: 5 * GROWN_KIB}, (), B),  # it grew most
        ({A: 0, B: 0}, {A: GROWN_KIB, B: 5 * GROWN_KIB}, (B,), B),  # and again
        ({A: FLOOR * 2, B: 0}, {A: FLOOR * 2, B: 2 * GROWN_KIB}, (), B),  # however large another is
        ({A: 0}, {A: GROWN_KIB - 1}, (), None),  # a little is not taking
        ({}, {A: FLOOR, B: FLOOR + 1, C: 1}, (), B),  # none is known to have grown: the largest
        ({}, {A: FLOOR, B: FLOOR + 1}, (B,), A),
        ({}, {A: FLOOR - 1}, (), None),  # too small to be the reason
        ({A: FLOOR}, {A: FLOOR}, (A,), None),  # it runs again, and takes nothing more
        ({A: math.inf, B: 0}, {A: math.inf, B: 0}, (), A),  # more files than can be counted
        ({B: 0}, {A: math.inf, B: GROWN_KIB}, (), B),
    ],
)
def test_who_takes_the_disk(before: Any, now: Any, spared: Any, wanted: UUID | None) -> None:
    assert taker(before, now, FLOOR, spared) == wanted


async def test_the_one_that_grows_is_stopped_and_keeps_what_is_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await world.running()
    await world.running("t-2", slice="other", slice_id=OTHER_ID)
    sizes = {SLICE: 0, "other": 0}
    stopped: list[str] = []

    async def disk_kib(_: object, slice: str) -> int:
        return sizes[slice]

    async def stop(_: object, slice: str) -> None:
        stopped.append(slice)

    monkeypatch.setattr(type(world.driver), "disk_kib", disk_kib)
    monkeypatch.setattr(type(world.driver), "stop", stop)
    watch = Watch(world.node, full(world))
    await watch.look()
    assert stopped == []  # neither is large, and nobody knows yet who grows
    sizes[SLICE] = 3 * GROWN_KIB
    await watch.look()
    assert set(stopped) == {SLICE}
    assert {row.slice: row.state for row in world.store.leases()} == {SLICE: "leased", "other": "running"}
    assert world.closer.closed[0] == (SLICE, None)
    assert world.store.removals() == []
    await watch.look()
    assert {row.slice: row.state for row in world.store.leases()} == {SLICE: "leased", "other": "running"}
    assert (await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])).state == "running"
    await watch.look()
    assert {row.state for row in world.store.leases()} == {"running"}


async def test_a_node_with_a_full_disk_says_so_and_takes_no_new_slice(world: World) -> None:
    lease = await world.running()
    world.node.disk = full(world)
    ad = advertisement(world.node, PLACE)
    assert (ad.slots_free, ad.disk_free_mb) == (0, 0)
    with refused(Code.OVER_CAPACITY) as said:
        world.leased("t-2", slice="other", slice_id=OTHER_ID)
    assert said.refusal.reason == "the disk of this node is full; take another node"
    # Whoever is there already goes on.
    assert world.node.renew(world.user(), SLICE, SLICE_ID, lease.generation).generation == 2
    assert world.leased("t-3").generation == 3


async def test_free_space_is_advertised_about(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert advertisement(world.node, PLACE).disk_free_mb is None
    world.node.disk = Disk(world.folder, 1)
    for free, said in ((1, 1), (3, 3), (1023, 768), (79_000, 65_536), (99_000, 98_304)):
        monkeypatch.setattr(Disk, "free_mb", free)
        assert advertisement(world.node, PLACE).disk_free_mb == said


async def test_keys_are_taken_away_although_nothing_can_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.running()
    await world.node.set_access(world.user(), SLICE, SLICE_ID, 1, USER_KEYS[:2])
    world.closer.closed.clear()
    _break(world, monkeypatch)
    # One goes, another would come: the first part counts, and the whole is to come again.
    with refused(Code.DISK_FULL):
        await world.node.set_access(world.user(), SLICE, SLICE_ID, 2, [USER_KEYS[0], USER_KEYS[2]])
    access = world.node.lookup(SLICE)
    assert access is not None
    assert len(access.keys) == 1
    assert len(world.closer.closed) == 1
    assert await world.node.set_access(world.user(), SLICE, SLICE_ID, 2, []) == 2
    with refused(Code.DISK_FULL):
        world.node.renew(world.user(), SLICE, SLICE_ID, 1)
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert (world.store.leases(), await world.driver.list(), world.store.taken()) == ([], {}, 0)
    assert (world.node.disk_full, world.store.owed > 0) == (True, True)
    monkeypatch.undo()
    world.store.settle()
    assert (world.node.disk_full, world.store.owed) == (False, 0)
    world.restart()
    assert world.store.leases() == []


async def test_nobody_is_let_in_after_a_restart_that_came_before_it_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.running()
    await world.node.set_access(world.user(), SLICE, SLICE_ID, 1, USER_KEYS[:2])
    with monkeypatch.context() as patch:
        _break(world, patch)
        await world.node.set_access(world.user(), SLICE, SLICE_ID, 2, USER_KEYS[:1])
        world.restart()
    await recover(world.node)
    access = world.node.lookup(SLICE)
    assert access is not None
    assert access.keys == ()
    # The service manager sees an older generation, and pushes.
    assert world.store.leases()[0].key_generation == 1
    assert await world.node.set_access(world.user(), SLICE, SLICE_ID, 2, USER_KEYS[:1]) == 2
    world.restart()
    access = world.node.lookup(SLICE)
    assert access is not None
    assert len(access.keys) == 1


async def test_nobody_is_let_in_until_it_is_known_again_whom_plc_has_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.running()
    with monkeypatch.context() as patch:
        _break(world, patch)
        stop_owners(world.node, frozenset([USER]))
        await world.node.beside.finished()
        assert world.node.lookup(SLICE) is None
        world.restart()
    await recover(world.node)
    assert world.node.lookup(SLICE) is None
    stop_owners(world.node, frozenset())
    assert world.node.lookup(SLICE) is not None


def _break(world: World, patch: pytest.MonkeyPatch) -> None:
    """The disk takes nothing more of the store (test_full_store.py has one that is really full)."""

    def write(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    patch.setattr("nodemgr.storage.databasefile.DatabaseFile.write", write)


def test_a_full_disk_has_a_code_of_its_own() -> None:
    refusal = Refusal(Code.DISK_FULL, "full")
    problem = to_problem(refusal)
    assert problem["status"] == 507
    assert from_problem(507, problem).code is Code.DISK_FULL
