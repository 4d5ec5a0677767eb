"""Leases to slivers, and their renewal."""

from datetime import timedelta

import pytest

from tests.unit.nodemgr.world import (
    OTHER_ID,
    OTHER_USER,
    SLICE,
    SLICE_KEYS,
    World,
    only,
    refused,
)
from tests.unit.trust.factories import NOW, SLICE_ID
from trust.documents import DelegationKind
from trust.errors import Code
from trust.sshkeys import parse_public_key


async def test_a_lease_becomes_a_sliver_once(world: World) -> None:
    lease = world.leased()
    for _ in range(2):
        made = await world.node.create(world.svm(), SLICE, lease.token, *SLICE_KEYS[0])
        assert made.state == "running"
    assert await world.driver.list() == {SLICE: SLICE_ID}


async def test_only_the_lease_that_is_in_force_makes_a_sliver(world: World) -> None:
    first = world.leased()
    renewed = world.node.renew(world.user(), SLICE, SLICE_ID, 1)
    for wrong in (first.token, renewed.token[:-1], "x"):
        with refused(Code.STALE_GENERATION):
            await world.node.create(world.user(), SLICE, wrong, *SLICE_KEYS[0])
    assert (await world.node.create(world.user(), SLICE, renewed.token, *SLICE_KEYS[0])).state == "running"


async def test_who_may_not_make_a_sliver(world: World) -> None:
    lease = world.leased()
    for caller, code in [
        (world.user(OTHER_USER), Code.NOT_OWNER),
        (world.user(pi=False), Code.NOT_ALLOWED),
        (world.svm("another"), Code.NOT_ALLOWED),
        (world.svm(kind=DelegationKind.STANDING), Code.NOT_ALLOWED),
    ]:
        with refused(code):
            await world.node.create(caller, SLICE, lease.token, *SLICE_KEYS[0])
    with refused(Code.NOT_FOUND):
        await world.node.create(world.user(), "another", lease.token, *SLICE_KEYS[0])
    assert await world.driver.list() == {}


async def test_an_ended_lease_makes_no_sliver(world: World) -> None:
    lease = world.leased(leaselen=100)
    world.clock.forward(100)
    with refused(Code.TICKET_EXPIRED):
        await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])


@pytest.mark.parametrize(
    "pair",
    [
        (SLICE_KEYS[0][0], SLICE_KEYS[1][1]),
        ("nonsense", SLICE_KEYS[0][1]),
        (SLICE_KEYS[0][0][:-100], SLICE_KEYS[0][1]),
        (SLICE_KEYS[0][0] + "\n" * 20_000, SLICE_KEYS[0][1]),
        (SLICE_KEYS[0][0], f"no-pty {SLICE_KEYS[0][1]}"),
    ],
)
async def test_a_slice_key_pair_must_be_one(world: World, pair: tuple[str, str]) -> None:
    lease = world.leased()
    with refused(Code.BAD_INPUT):
        await world.node.create(world.user(), SLICE, lease.token, *pair)


async def test_another_key_pair_takes_the_place_of_the_first(world: World) -> None:
    first = await world.running()
    second = await world.node.create(world.user(), SLICE, first.token, *SLICE_KEYS[1])
    assert second.slice_key == parse_public_key(SLICE_KEYS[1][1]).line
    assert world.closer.closed == [(SLICE, (parse_public_key(SLICE_KEYS[0][1]).fingerprint,))]


async def test_a_driver_that_fails_leaves_the_lease_for_another_try(world: World) -> None:
    lease = world.leased()
    world.driver.failing = "the disk is full"
    with refused(Code.INTERNAL):
        await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])
    assert only(world).state == "leased"
    world.driver.failing = None
    assert (await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])).state == "running"
    assert world.store.removals() == []


async def test_a_renewal_counts_once_however_often_it_is_asked(world: World) -> None:
    await world.running(leaselen=1_000)
    world.clock.forward(600)
    first = world.node.renew(world.svm(), SLICE, SLICE_ID, 1)
    world.clock.forward(100)
    assert world.node.renew(world.svm(), SLICE, SLICE_ID, 1) == first
    assert (first.generation, first.expires_at) == (2, NOW + timedelta(seconds=1_600))
    world.node.renew(world.svm(), SLICE, SLICE_ID, 2)
    with refused(Code.STALE_GENERATION) as answer:
        world.node.renew(world.svm(), SLICE, SLICE_ID, 1)
    assert answer.refusal.detail == {"generation": 3}


async def test_a_node_whose_store_was_put_back_renews_from_the_generation_that_it_had_given(world: World) -> None:
    await world.running(leaselen=1_000)
    renewed = world.node.renew(world.svm(), SLICE, SLICE_ID, 4)
    assert (renewed.generation, only(world).generation) == (5, 5)
    assert world.node.renew(world.svm(), SLICE, SLICE_ID, 4) == renewed


async def test_a_renewal_may_change_the_length_from_then_on(world: World) -> None:
    lease = await world.running(leaselen=1_000)
    longer = world.node.renew(world.user(), SLICE, SLICE_ID, 1, 5_000)
    assert (longer.leaselen, longer.expires_at) == (5_000, NOW + timedelta(seconds=5_000))
    assert world.node.renew(world.user(), SLICE, SLICE_ID, 1, 9_000) == longer  # the same renewal, heard again
    shorter = world.node.renew(world.user(), SLICE, SLICE_ID, 2, 600)
    assert (shorter.leaselen, shorter.expires_at) == (600, longer.expires_at)
    world.clock.forward(4_900)
    assert world.node.renew(world.user(), SLICE, SLICE_ID, 3).expires_at == NOW + timedelta(seconds=5_500)
    assert lease.leaselen == 1_000


async def test_a_renewal_never_shortens_though_the_clock_steps_back(world: World) -> None:
    row = await world.running(leaselen=1_000)
    caller = world.user()
    world.clock.forward(-500)
    assert world.node.renew(caller, SLICE, SLICE_ID, 1).expires_at == row.expires_at


async def test_who_may_renew(world: World) -> None:
    await world.running()
    assert world.node.renew(world.svm(kind=DelegationKind.STANDING), SLICE, SLICE_ID, 1).generation == 2
    for caller, code in [(world.user(OTHER_USER), Code.NOT_OWNER), (world.user(pi=False), Code.NOT_ALLOWED)]:
        with refused(code):
            world.node.renew(caller, SLICE, SLICE_ID, 2)
    with refused(Code.NOT_FOUND):
        world.node.renew(world.user(), SLICE, OTHER_ID, 2)


async def test_a_lease_that_has_ended_cannot_be_renewed(world: World) -> None:
    await world.running(leaselen=100)
    world.clock.forward(100)
    with refused(Code.TICKET_EXPIRED):
        world.node.renew(world.user(), SLICE, SLICE_ID, 1)
