"""A sliver that ended by itself goes back to its lease, keeps its home, and runs again when it is asked for."""

import asyncio
from dataclasses import replace

import pytest

from nodemgr.expiry import Expiry, recover
from nodemgr.liveness import Liveness
from nodemgr.slivers.drivers.driver import News, SliverSpec
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from nodemgr.stops import stop_owners
from tests.unit.nodemgr.world import GRACE, OTHER_ID, OTHER_USER, SLICE, SLICE_KEYS, USER_KEYS, World, only, refused
from tests.unit.trust.factories import SLICE_ID, USER
from trust.errors import Code, Refusal


def kill(world: World, slice: str = SLICE) -> None:
    """A simulated sliver is its file."""
    for path in world.driver.directory.glob(f"{slice}@*"):
        path.unlink()


async def test_it_goes_back_to_its_lease_and_its_sessions_end(world: World) -> None:
    await world.running()
    await world.running("t-2", slice="other", slice_id=OTHER_ID)
    liveness = Liveness(world.node)
    await liveness.tick()
    kill(world)
    await liveness.tick()
    states = {lease.slice: lease.state for lease in world.node.inventory(world.user())}
    assert states == {SLICE: "leased", "other": "running"}
    assert world.closer.closed == [(SLICE, None)]
    access = world.node.lookup(SLICE)
    assert access is not None
    assert "on this node ended by itself, 2027-03-01 12:00:00 UTC: svm start oceanstore" in access.stopped
    assert world.store.removals() == []  # its home stays
    assert world.store.taken() == 2


async def test_what_happens_in_slivers_is_kept_for_their_owners(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.running()
    news = [News(SLICE, f"it {number}") for number in range(10)] + [News("stranger", "it")]

    async def told(_: SimulatedDriver) -> list[News]:
        return [news.pop(0) for _ in range(len(news))]

    monkeypatch.setattr(SimulatedDriver, "news", told)
    for _ in range(2):
        await Liveness(world.node).tick()
        assert [each.words for each in world.node.happenings.of(SLICE_ID)] == [
            f"it {number}" for number in range(2, 10)
        ]
    world.node.happenings.keep(())
    assert list(world.node.happenings.of(SLICE_ID)) == []


async def test_newvms_makes_it_run_again_under_the_same_lease_with_the_same_keys(world: World) -> None:
    lease = await world.running()
    await world.node.set_access(world.user(), SLICE, SLICE_ID, 1, USER_KEYS[:1])
    kill(world)
    await Liveness(world.node).tick()
    with refused(Code.NOT_FOUND) as caught:
        await world.node.set_pair(world.user(), SLICE, SLICE_ID, _pair(1))
    assert "svm newvms" in caught.refusal.reason
    again = await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    assert (again.state, len(again.keys)) == ("running", 1)
    assert world.node.lookup(SLICE) is not None
    assert world.store.removals() == []


async def test_a_revival_that_fails_keeps_the_home_for_another_try(world: World) -> None:
    lease = await world.running()
    kill(world)
    await Liveness(world.node).tick()
    world.driver.failing = "no memory"
    with refused(Code.INTERNAL):
        await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    assert (only(world).state, world.store.removals()) == ("leased", [])
    world.driver.failing = None
    assert (await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])).state == "running"


async def test_what_is_left_of_it_goes_with_its_lease(world: World) -> None:
    await world.running(leaselen=100)
    await Liveness(world.node).tick()
    await _end_while_its_folder_stays(world)
    world.clock.forward(100 + GRACE)
    await Expiry(world.node).tick()
    assert (await world.driver.list(), world.store.leases(), world.store.taken()) == ({}, [], 0)


async def test_what_is_left_of_it_goes_when_it_is_deleted(world: World) -> None:
    await world.running()
    await _end_while_its_folder_stays(world)
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert (await world.driver.list(), world.store.taken()) == ({}, 0)


async def test_it_is_as_it_was_after_a_restart(world: World) -> None:
    lease = await world.running()
    await _end_while_its_folder_stays(world)
    world.restart()
    await recover(world.node)
    assert only(world).state == "leased"
    assert await world.driver.list() == {SLICE: SLICE_ID}
    assert (await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])).state == "running"


async def test_one_that_does_not_start_again_with_its_node_goes_back_to_its_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.running()
    await world.running("t-2", slice="other", slice_id=OTHER_ID)
    world.restart()

    async def start(self: SimulatedDriver, slice: str) -> None:
        if slice == SLICE:
            raise Refusal(Code.INTERNAL, "no memory")

    monkeypatch.setattr(SimulatedDriver, "start", start)
    await recover(world.node)
    assert {lease.slice: lease.state for lease in world.store.leases()} == {SLICE: "leased", "other": "running"}
    assert world.store.removals() == []


async def test_one_that_does_not_start_again_with_its_owner_goes_back_to_its_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.running()
    stop_owners(world.node, frozenset([USER]))
    await world.node.beside.finished()

    async def start(self: SimulatedDriver, slice: str) -> None:
        raise Refusal(Code.INTERNAL, "no memory")

    monkeypatch.setattr(SimulatedDriver, "start", start)
    stop_owners(world.node, frozenset())
    await world.node.beside.finished()
    assert (only(world).state, world.store.removals()) == ("leased", [])


async def test_one_whose_owner_is_stopped_did_not_end_by_itself(world: World) -> None:
    await world.running()
    await world.running("t-2", slice="other", slice_id=OTHER_ID, owner=OTHER_USER)
    stop_owners(world.node, frozenset([USER]))
    await world.node.beside.finished()
    kill(world)
    await Liveness(world.node).tick()
    assert {lease.state for lease in world.store.leases()} == {"running"}


async def test_one_that_is_worked_on_is_looked_at_later(world: World) -> None:
    await world.running()
    kill(world)
    liveness = Liveness(world.node)
    async with world.node.lock(SLICE):
        await asyncio.wait_for(liveness.tick(), 30)  # nor does it hold up the others
        assert only(world).state == "running"
    await liveness.tick()
    assert only(world).state == "leased"


async def test_a_deletion_meanwhile_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.running()
    kill(world)
    real = SimulatedDriver.ended

    async def ended(self: SimulatedDriver, slices: object) -> object:
        found = await real(self, slices)  # type: ignore[arg-type]
        if only_leases := world.store.leases():
            world.store.forget(only_leases[0], world.clock.now())
        return found

    monkeypatch.setattr(SimulatedDriver, "ended", ended)
    await Liveness(world.node).tick()
    assert world.store.leases() == []


async def test_one_slivers_trouble_is_not_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.running()
    await world.running("t-2", slice="other", slice_id=OTHER_ID)
    kill(world)
    kill(world, "other")

    async def stop(self: SimulatedDriver, slice: str) -> None:
        raise OSError("this one cannot be stopped")

    monkeypatch.setattr(SimulatedDriver, "stop", stop)
    await Liveness(world.node).tick()
    assert {lease.state for lease in world.store.leases()} == {"leased"}


async def test_a_sliver_whose_record_is_damaged_goes_back_to_its_lease_and_keeps_its_home(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node manager's start: the driver knows the name, not whose it is."""
    lease = await world.running()
    await world.driver.create(SliverSpec("stray", OTHER_ID, "n1", 1, 1, *SLICE_KEYS[0]))
    world.restart()

    async def there(self: SimulatedDriver) -> dict[str, None]:
        return {path.name.partition("@")[0]: None for path in self.directory.iterdir()}

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedDriver, "list", there)
        await recover(world.node)
    assert (only(world).state, world.store.removals()) == ("leased", [])
    assert await world.driver.list() == {SLICE: SLICE_ID}  # what nobody leases went
    assert (await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])).state == "running"


async def _end_while_its_folder_stays(world: World) -> None:
    """As a real sliver, whose folder stays when its first process ends."""
    (path,) = world.driver.directory.iterdir()
    path.unlink()
    await Liveness(world.node).tick()
    path.touch()
    assert only(world) == replace(only(world), state="leased")


def _pair(generation: int):  # type: ignore[no-untyped-def]
    from nodemgr.slicekey import SlicePair

    return SlicePair(generation, *SLICE_KEYS[1])
