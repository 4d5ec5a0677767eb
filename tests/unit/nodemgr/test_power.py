"""stop, start, restart, reset at a node: once for each order, however often and however late it is heard."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from nodemgr.expiry import Expiry, recover
from nodemgr.liveness import Liveness
from nodemgr.power import Order, What, obey
from nodemgr.stops import stop_owners
from nodemgr.storage.store import LeaseRow, Store
from tests.unit.nodemgr.world import OTHER_ID, OTHER_USER, SLICE, SLICE_KEYS, USER_KEYS, World, only, refused
from tests.unit.trust.factories import NODE, NOW, SLICE_ID, USER
from trust.documents import DelegationKind
from trust.errors import Code, Refusal


class Counting:
    """The driver, and what it was told to do."""

    def __init__(self, driver: Any) -> None:
        self.driver, self.broken = driver, ""
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driver, name)
        if name not in ("start", "stop", "reset"):
            return found

        async def call(*args: Any) -> None:
            self.told.append(name)
            if name == self.broken:
                raise Refusal(Code.INTERNAL, "it is broken")
            await found(*args)

        return call


@pytest.fixture
async def driver(world: World) -> Counting:
    """Of a node with one sliver that runs."""
    await world.running()
    world.node.driver = counting = Counting(world.driver)
    return counting


async def ordered(world: World, what: What, second: int = 0, **changes: Any) -> LeaseRow:
    order = Order(what, changes.pop("slice_id", SLICE_ID), NOW + timedelta(seconds=second))
    return await obey(world.node, changes.pop("caller", world.user()), SLICE, order)


def state(world: World) -> str:
    lease = world.store.lease(SLICE)
    assert lease is not None
    return lease.state


async def test_stopped_and_started_with_what_it_has(world: World, driver: Counting) -> None:
    await world.node.set_access(world.user(), SLICE, SLICE_ID, 1, USER_KEYS[:1])
    before = world.store.lease(SLICE)
    assert (await ordered(world, What.STOP)).state == "leased"
    assert world.store.power(SLICE_ID).ordered
    assert world.closer.closed == [(SLICE, None)]
    assert await ordered(world, What.START, 1) == before
    assert driver.told == ["stop", "start"]


@pytest.mark.parametrize("what", list(What))
async def test_the_same_order_again_does_nothing_more(world: World, driver: Counting, what: What) -> None:
    first = await ordered(world, what)
    told = list(driver.told)
    assert await ordered(world, what) == first
    if what is not What.STOP:  # which may be repeated, and ends nothing that runs
        assert driver.told == told


@pytest.mark.parametrize("what", list(What))
async def test_an_order_that_comes_too_late_does_nothing(world: World, driver: Counting, what: What) -> None:
    await ordered(world, What.STOP, 1)
    await ordered(world, What.START, 2)
    told = list(driver.told)
    with refused(Code.STALE_GENERATION):
        await ordered(world, what, 1)
    assert (state(world), driver.told) == ("running", told)


async def test_a_stop_that_is_heard_again_after_newvms_does_nothing(world: World, driver: Counting) -> None:
    lease = await ordered(world, What.STOP)
    await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    assert (await ordered(world, What.STOP)).state == "running"
    assert driver.told == ["stop"]


async def test_a_late_order_of_a_lease_that_is_gone_ends_nothing(world: World, driver: Counting) -> None:
    await ordered(world, What.RESTART, 5)
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    world.store.purge(NOW)
    await world.running("t-2")
    with refused(Code.STALE_GENERATION):
        await ordered(world, What.STOP, 4)
    assert state(world) == "running"


async def test_a_restart_that_was_cut_short_is_gone_on_with(world: World, driver: Counting) -> None:
    driver.broken = "start"
    with refused(Code.INTERNAL):
        await ordered(world, What.RESTART)
    assert (state(world), world.store.power(SLICE_ID).reason) == ("leased", "was being restarted")
    driver.broken = ""
    assert (await ordered(world, What.RESTART)).state == "running"
    await ordered(world, What.RESTART)
    assert driver.told == ["stop", "start", "stop", "start"]


async def test_a_stop_that_the_driver_cannot_do_is_done_when_it_is_asked_again(world: World, driver: Counting) -> None:
    driver.broken = "stop"
    with refused(Code.INTERNAL):
        await ordered(world, What.STOP)
    driver.broken = ""
    await ordered(world, What.STOP)
    assert driver.told == ["stop", "stop"]


async def test_reset_keeps_it_running_or_stopped(world: World, driver: Counting) -> None:
    assert (await ordered(world, What.RESET)).state == "running"
    await ordered(world, What.STOP, 1)
    assert (await ordered(world, What.RESET, 2)).state == "leased"
    assert world.store.power(SLICE_ID).ordered
    assert driver.told == ["reset", "stop", "reset"]


async def test_what_a_driver_cannot_do_is_said_by_it(world: World, driver: Counting) -> None:
    async def reset(slice: str) -> None:
        raise Refusal(Code.NOT_ALLOWED, "slivers of this node have no root file system of their own")

    driver.driver = type("Plain", (), {"reset": staticmethod(reset), "list": world.driver.list})
    with refused(Code.NOT_ALLOWED) as said:
        await ordered(world, What.RESET)
    assert "no root file system" in said.refusal.reason


async def test_stopped_it_keeps_its_place_and_is_renewed(world: World, driver: Counting) -> None:
    await ordered(world, What.STOP)
    assert world.store.taken() == 1
    world.clock.forward(100)
    renewed = world.node.renew(world.user(), SLICE, SLICE_ID, 1)
    assert (renewed.generation, renewed.state) == (2, "leased")
    assert world.store.power(SLICE_ID).ordered


async def test_stopped_it_stays_so_when_its_node_starts_anew(world: World, driver: Counting) -> None:
    await ordered(world, What.STOP)
    since = world.store.power(SLICE_ID).since
    world.restart()
    await recover(world.node)
    await Liveness(world.node).tick()
    assert (state(world), world.store.power(SLICE_ID).since) == ("leased", since)
    assert (await ordered(world, What.START, 1)).state == "running"


async def test_nobody_is_let_in_and_whoever_has_its_key_hears_why(world: World, driver: Counting) -> None:
    access = world.node.lookup(SLICE)
    assert access is not None
    assert access.stopped == ""
    await ordered(world, What.STOP)
    access = world.node.lookup(SLICE)
    assert access is not None
    stamp = f"{NOW:%Y-%m-%d %H:%M:%S} UTC"
    words = f"the VM of {SLICE} on this node was stopped, {stamp}: svm start {SLICE} starts it, with its files and keys"
    assert access.stopped == words


async def test_who_may(world: World, driver: Counting) -> None:
    standing = world.svm(kind=DelegationKind.STANDING, heal=True)
    with refused(Code.NOT_ALLOWED):
        await ordered(world, What.STOP, caller=standing)
    for what in What:
        with refused(Code.NOT_OWNER):
            await ordered(world, what, caller=world.svm(issuer=OTHER_USER))
    await ordered(world, What.STOP, caller=world.user(pi=False))
    with refused(Code.NOT_ALLOWED) as said:
        await ordered(world, What.START, 1, caller=world.user(pi=False))
    assert "not a PI" in said.refusal.reason
    await ordered(world, What.START, 1, caller=world.svm())


async def test_what_cannot_be_told_anything(world: World, driver: Counting) -> None:
    with refused(Code.NOT_FOUND):
        await ordered(world, What.STOP, slice_id=OTHER_ID)
    with refused(Code.BAD_INPUT) as said:
        await ordered(world, What.STOP, 31)
    assert "yet to come" in said.refusal.reason
    world.clock.time = only(world).expires_at
    with refused(Code.TICKET_EXPIRED):
        await ordered(world, What.START)
    assert driver.told == []


async def test_without_a_vm_there_is_nothing_to_start(world: World) -> None:
    world.leased()
    with refused(Code.NOT_FOUND) as said:
        await ordered(world, What.START)
    assert "svm newvms makes it" in said.refusal.reason


async def test_of_an_owner_whom_plc_has_stopped_nothing_starts(world: World, driver: Counting) -> None:
    stop_owners(world.node, frozenset([USER]))
    await Expiry(world.node).tick()
    for what in (What.START, What.RESTART, What.RESET):
        with refused(Code.NOT_ALLOWED) as said:
            await ordered(world, what)
        assert "stopped by plc" in said.refusal.reason
    await ordered(world, What.STOP)
    stop_owners(world.node, frozenset())
    await Expiry(world.node).tick()
    assert state(world) == "leased"


async def test_a_deletion_waits_for_no_order(world: World, driver: Counting) -> None:
    gate, found = asyncio.Event(), driver.driver.start

    async def slow(slice: str) -> None:
        await gate.wait()
        await found(slice)

    await ordered(world, What.STOP)
    driver.driver = type("Slow", (), {"start": staticmethod(slow), "delete": world.driver.delete})
    starting = asyncio.create_task(ordered(world, What.START, 1))
    await asyncio.sleep(0)
    deleting = asyncio.create_task(world.node.delete(world.user(), SLICE, SLICE_ID, "t-1"))
    await asyncio.sleep(0)
    gate.set()
    with refused(Code.NOT_FOUND):
        await starting
    await deleting
    assert (world.store.lease(SLICE), await world.driver.list()) == (None, {})


async def test_an_end_is_written_down_with_when_and_why(world: World, driver: Counting) -> None:
    for path in world.driver.directory.iterdir():
        path.unlink()
    world.clock.forward(7)
    await Liveness(world.node).tick()
    power = world.store.power(SLICE_ID)
    assert (state(world), power.since, power.reason) == ("leased", NOW + timedelta(seconds=7), "ended by itself")
    world.store.close()
    world.store = Store(world.folder / "node.db", NODE)
    assert world.store.power(SLICE_ID) == power
