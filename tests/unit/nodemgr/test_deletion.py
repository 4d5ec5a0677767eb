"""Deletion, which wins against everything else."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from nodemgr.slivers.drivers.simulated import SimulatedDriver
from tests.unit.nodemgr.world import (
    OTHER_ID,
    OTHER_USER,
    SLICE,
    SLICE_KEYS,
    World,
    only,
    refused,
)
from tests.unit.trust.factories import SLICE_ID, SVM
from trust.documents import DelegationKind
from trust.errors import Code


async def test_a_deletion_burns_the_ticket_forgets_the_lease_and_removes_the_sliver(world: World) -> None:
    await world.running()
    for _ in range(2):
        await world.node.delete(world.svm(), SLICE, SLICE_ID, "t-1")
    assert world.store.leases() == []
    assert await world.driver.list() == {}
    assert world.store.taken() == 0
    assert world.closer.closed == [(SLICE, None)]


async def test_who_may_delete(world: World) -> None:
    await world.running()
    for caller, code in [
        (world.user(OTHER_USER), Code.NOT_OWNER),
        (world.svm(issuer=OTHER_USER), Code.NOT_OWNER),
        (world.svm("another"), Code.NOT_ALLOWED),
        (world.svm(kind=DelegationKind.STANDING, heal=True), Code.NOT_ALLOWED),
    ]:
        with refused(code):
            await world.node.delete(caller, SLICE, SLICE_ID, "t-1")
    assert only(world).state == "running"


async def test_without_a_delegation_a_service_manager_deletes_nothing(world: World) -> None:
    caller = world.svm().__class__.of(world.peer(SVM), None, world.trust)
    with refused(Code.NOT_ALLOWED):
        await world.node.delete(caller, SLICE, SLICE_ID, "t-1")


async def test_a_deletion_of_an_earlier_slice_of_that_name_leaves_the_later_one(world: World) -> None:
    await world.running()
    await world.node.delete(world.user(), SLICE, OTHER_ID, "t-0")
    await world.node.delete(world.user(OTHER_USER), SLICE, OTHER_ID, None)
    assert only(world).state == "running"


async def test_a_repeated_deletion_of_an_earlier_ticket_leaves_the_later_lease(world: World) -> None:
    world.leased("t-1")
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    await world.running("t-2")
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert only(world).jti == "t-2"


async def test_a_deletion_that_names_a_ticket_never_seen_here_still_deletes_the_slice(world: World) -> None:
    await world.running("t-1")
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-2")
    assert world.store.leases() == []
    with refused(Code.TICKET_EXPIRED):
        world.leased("t-2")


async def test_a_deletion_without_a_ticket_deletes_what_is_there(world: World) -> None:
    await world.running()
    await world.node.delete(world.user(), SLICE, SLICE_ID, None)
    assert world.store.leases() == []


class Gate:
    """Every change of the driver stops here until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        for name in methods:
            monkeypatch.setattr(SimulatedDriver, name, self._behind(getattr(SimulatedDriver, name)))

    def _behind(self, method: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def wait(*args: object, **options: object) -> None:
            self.reached.set()
            await self.opened.wait()
            await method(*args, **options)

        return wait


async def _delete_meanwhile(world: World, gate: Gate, making: Awaitable[object], jti: str) -> None:
    """Delete the slice while `making` is behind the gate; it finds out, and nothing is left."""
    task = asyncio.ensure_future(making)
    await gate.reached.wait()
    deleting = asyncio.create_task(world.node.delete(world.user(), SLICE, SLICE_ID, jti))
    await asyncio.sleep(0)
    assert world.store.leases() == []  # it did not wait
    gate.opened.set()
    with refused(Code.NOT_FOUND):
        await task
    await deleting
    assert (world.store.leases(), await world.driver.list(), world.store.taken()) == ([], {}, 0)


async def test_a_deletion_while_the_sliver_is_made_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = world.leased()
    making = world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    await _delete_meanwhile(world, Gate(monkeypatch, "create"), making, "t-1")


async def test_a_deletion_while_an_earlier_sliver_is_removed_wins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.running("t-1")
    world.driver.failing = "busy"
    with refused(Code.INTERNAL):
        await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    world.driver.failing = None
    lease = world.leased("t-2")
    making = world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    await _delete_meanwhile(world, Gate(monkeypatch, "delete"), making, "t-2")


async def test_a_deletion_while_a_running_sliver_is_asked_for_again_wins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await world.running()
    asking = world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    await _delete_meanwhile(world, Gate(monkeypatch, "create"), asking, "t-1")


async def test_a_sliver_that_was_made_too_late_is_not_its_namesakes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, gate = world.leased(), Gate(monkeypatch, "create")
    making = asyncio.create_task(world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0]))
    await gate.reached.wait()
    deleting = asyncio.create_task(world.node.delete(world.user(), SLICE, SLICE_ID, "t-1"))
    await asyncio.sleep(0)
    world.leased("t-2", slice_id=OTHER_ID)
    gate.opened.set()
    with refused(Code.NOT_FOUND):
        await making
    await deleting
    assert only(world).state == "leased"
    assert await world.driver.list() == {}


async def test_the_key_pair_of_a_deleted_slice_is_not_given_to_its_namesake(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await world.running()
    gate = Gate(monkeypatch, "set_slice_key")
    making = asyncio.create_task(world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[1]))
    await gate.reached.wait()
    deleting = asyncio.create_task(world.node.delete(world.user(), SLICE, SLICE_ID, "t-1"))
    await asyncio.sleep(0)
    world.leased("t-2", slice_id=OTHER_ID)
    gate.opened.set()
    with refused(Code.NOT_FOUND):
        await making
    await deleting
    assert only(world).slice_key is None


async def test_what_the_driver_cannot_remove_now_keeps_its_place_and_is_removed_later(world: World) -> None:
    await world.running()
    world.driver.failing = "busy"
    with refused(Code.INTERNAL):
        await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert (world.store.leases(), world.store.taken()) == ([], 1)
    world.driver.failing = None
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert (await world.driver.list(), world.store.taken()) == ({}, 0)


async def test_the_generation_goes_on_counting_after_a_deletion(world: World) -> None:
    await world.running("t-1")
    world.node.renew(world.user(), SLICE, SLICE_ID, 1)
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert world.leased("t-2").generation == 3
