"""What a node does by itself: its clock and its store decide, nobody else is asked."""

import asyncio
import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from nodemgr.expiry import IDLE, Expiry, recover
from nodemgr.slivers.drivers.driver import SliverSpec
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from nodemgr.stops import stop_owners
from nodemgr.storage.databasefile import DatabaseFile
from tests.unit.nodemgr.world import GRACE, OTHER_ID, OTHER_USER, SLICE, SLICE_KEYS, World, refused
from tests.unit.trust.factories import SLICE_ID, USER
from trust.errors import Code, Refusal


def spec(slice: str = SLICE, slice_id: object = SLICE_ID) -> SliverSpec:
    return SliverSpec(slice, slice_id, "n1", 1, 1, *SLICE_KEYS[0])  # type: ignore[arg-type]


async def test_a_sliver_ends_with_its_lease_and_the_grace_period(world: World) -> None:
    await world.running(leaselen=1_000)
    expiry = Expiry(world.node)
    world.clock.forward(999)
    await expiry.tick()
    assert world.closer.closed == []
    world.clock.forward(1)
    await expiry.tick()
    await expiry.tick()
    assert world.closer.closed == [(SLICE, None)]  # once
    assert await world.driver.list() == {SLICE: SLICE_ID}
    world.clock.forward(GRACE)
    await expiry.tick()
    assert (world.store.leases(), await world.driver.list(), world.store.taken()) == ([], {}, 0)


async def test_a_lease_without_a_sliver_ends_too(world: World) -> None:
    world.leased(leaselen=1_000)
    world.clock.forward(1_000 + GRACE)
    await Expiry(world.node).tick()
    assert world.store.leases() == []


async def test_a_renewed_sliver_lives_on(world: World) -> None:
    await world.running(leaselen=1_000)
    world.clock.forward(900)
    world.node.renew(world.user(), SLICE, SLICE_ID, 1)
    world.clock.forward(900)
    await Expiry(world.node).tick()
    assert world.node.lookup(SLICE) is not None


async def test_expiry_is_enforced_right_after_a_restart(world: World) -> None:
    await world.running(leaselen=1_000)
    world.clock.forward(1_000 + GRACE)
    world.restart()
    await recover(world.node)
    assert (world.store.leases(), await world.driver.list()) == ([], {})


async def test_what_runs_is_found_again_after_a_restart(world: World) -> None:
    await world.running()
    world.restart()
    await recover(world.node)
    assert world.node.lookup(SLICE) is not None
    assert await world.driver.list() == {SLICE: SLICE_ID}


async def test_a_half_made_sliver_goes_back_to_its_lease(world: World) -> None:
    lease = world.leased()
    world.store.put(replace(lease, state="creating", slice_key=SLICE_KEYS[0][1]))
    await world.driver.create(spec())
    world.restart()
    await recover(world.node)
    (row,) = world.store.leases()
    assert (row.state, await world.driver.list()) == ("leased", {})
    assert (await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])).state == "running"


async def test_a_sliver_that_was_being_made_when_the_node_died_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = world.leased()
    removed: list[str] = []

    class Died(BaseException):
        pass

    async def dies(_driver: object, spec: SliverSpec) -> None:
        assert world.store.leases()[0].state == "creating"
        raise Died

    async def delete(_driver: object, slice: str) -> None:
        removed.append(slice)  # the driver lists nothing: what is half made may not be listed

    monkeypatch.setattr(SimulatedDriver, "create", dies)
    with pytest.raises(Died):
        await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    monkeypatch.undo()
    world.restart()
    monkeypatch.setattr(SimulatedDriver, "delete", delete)
    await recover(world.node)
    assert (removed, world.store.removals()) == ([SLICE], [])
    assert world.store.leases() == [lease]


async def test_a_sliver_that_cannot_be_written_down_is_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = world.leased()
    monkeypatch.setattr(DatabaseFile, "write", full)
    with refused(Code.DISK_FULL):
        await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    assert (world.store.leases()[0].state, world.store.removals()) == ("leased", [(SLICE, SLICE_ID)])
    await Expiry(world.node).tick()
    assert (world.store.removals(), await world.driver.list()) == ([], {})


async def test_expiry_looks_seldom_where_nothing_is_to_be_done(world: World) -> None:
    expiry = Expiry(world.node, seconds=2)
    assert expiry._pause() == 2 * IDLE
    world.leased(leaselen=1_000)
    assert expiry._pause() == 2 * IDLE
    world.clock.forward(995)
    assert expiry._pause() == 5  # exactly at its end
    world.clock.forward(4)
    assert expiry._pause() == 2
    world.clock.forward(100)
    assert expiry._pause() == 2  # until it is forgotten
    await expiry.tick()
    assert expiry._pause() == 2 * IDLE
    world.store.add_removal(SLICE, SLICE_ID)
    assert expiry._pause() == 2
    world.store.removed(SLICE)
    stop_owners(world.node, frozenset([USER]))
    assert expiry._pause() == 2


async def test_expiry_looks_at_once_when_something_has_changed(world: World) -> None:
    expiry = Expiry(world.node, seconds=1_000)
    task = asyncio.create_task(expiry.run())
    await asyncio.sleep(0)
    await world.running(leaselen=1_000)
    world.clock.forward(1_000 + GRACE)
    expiry.changed()
    for _ in range(1_000):
        if not world.store.leases():
            break
        await asyncio.sleep(0.01)
    task.cancel()
    assert world.store.leases() == []


async def test_a_sliver_that_the_driver_lost_goes_back_to_its_lease(world: World) -> None:
    await world.running()
    await world.driver.delete(SLICE)
    world.restart()
    await recover(world.node)
    (row,) = world.store.leases()
    assert row.state == "leased"


async def test_a_sliver_without_a_lease_is_removed(world: World) -> None:
    await world.driver.create(spec())
    await world.driver.create(spec("other", OTHER_ID))
    await recover(world.node)
    assert await world.driver.list() == {}


async def test_a_namesake_of_another_slice_is_removed(world: World) -> None:
    await world.running()
    await world.driver.create(spec(slice_id=OTHER_ID))
    world.restart()
    await recover(world.node)
    assert await world.driver.list() == {}
    assert world.store.leases()[0].state == "leased"


async def test_a_removal_that_failed_is_tried_again(world: World) -> None:
    await world.running()
    world.driver.failing = "busy"
    with pytest.raises(Refusal):
        await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    expiry = Expiry(world.node)
    await expiry.tick()
    assert world.store.removals() == [(SLICE, SLICE_ID)]
    world.restart()
    world.driver.failing = None
    await expiry.__class__(world.node).tick()
    assert (world.store.removals(), await world.driver.list()) == ([], {})


async def test_one_slivers_trouble_is_not_the_others(world: World) -> None:
    await world.running(leaselen=10)
    await world.running("t-2", slice="other", slice_id=OTHER_ID, leaselen=10)
    world.clock.forward(10 + GRACE)
    real = world.driver.delete

    async def delete(slice: str) -> None:
        if slice == SLICE:
            raise OSError("this one does not go")
        await real(slice)

    world.node.driver = _with(world.driver, delete)
    await Expiry(world.node).tick()
    assert await world.driver.list() == {SLICE: SLICE_ID}


async def test_stopped_owners_slivers_stop_and_run_again(world: World) -> None:
    await world.running()
    await world.running("t-2", slice="other", slice_id=OTHER_ID, owner=OTHER_USER)
    stop_owners(world.node, frozenset([USER]))
    await world.node.beside.finished()
    assert world.closer.closed == [(SLICE, None)]
    assert world.node.lookup(SLICE) is None
    assert world.node.lookup("other") is not None
    world.restart()
    await recover(world.node)
    assert world.node.lookup(SLICE) is None
    stop_owners(world.node, frozenset())
    assert world.node.lookup(SLICE) is not None


def full(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def _with(driver: object, delete: object) -> Any:
    class Other:
        def __getattr__(self, name: str) -> object:
            return delete if name == "delete" else getattr(driver, name)

    return Other()
