"""How long slivers were granted and used: whatever ends them, and whatever ends their node."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from nodemgr.expiry import Expiry
from nodemgr.liveness import back_to_lease
from nodemgr.storage import ledger
from nodemgr.storage.ledger import KEPT, Interval, Kind
from nodemgr.usage import told
from plc.client.usage import Used
from tests.unit.nodemgr.world import GRACE, SLICE, World
from tests.unit.trust.factories import NOW, SLICE_ID, USER
from trust.errors import Code, Refusal

LEASELEN = 1_209_600


def after(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def of(world: World, kind: Kind) -> list[tuple[datetime, datetime | None]]:
    found = [each for each in world.store.intervals() if each.kind is kind]
    return sorted((each.began, each.ended) for each in found)


async def test_a_deletion_ends_both(world: World) -> None:
    world.leased()
    world.clock.forward(10)
    await world.running()
    world.clock.forward(100)
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert of(world, Kind.GRANTED) == [(NOW, after(110))]
    assert of(world, Kind.USED) == [(after(10), after(110))]


async def test_a_lease_that_runs_out_counts_to_its_end(world: World) -> None:
    await world.running()
    world.clock.forward(LEASELEN + GRACE + 1)
    await Expiry(world.node).tick()
    assert of(world, Kind.GRANTED) == of(world, Kind.USED) == [(NOW, after(LEASELEN))]


async def test_a_renewal_moves_the_bound(world: World) -> None:
    await world.running()
    world.clock.forward(1_000)
    world.node.renew(world.user(), SLICE, SLICE_ID, 1)
    assert {each.bound for each in world.store.intervals()} == {after(1_000 + LEASELEN)}
    assert of(world, Kind.GRANTED) == [(NOW, None)]


async def test_a_sliver_that_ended_by_itself_is_granted_and_not_used(world: World) -> None:
    await world.running()
    world.clock.forward(50)
    await back_to_lease(world.node, SLICE, "ended by itself")
    world.clock.forward(50)
    await world.running("t-2")
    assert of(world, Kind.GRANTED) == [(NOW, None)]
    assert of(world, Kind.USED) == [(NOW, after(50)), (after(100), None)]


async def test_nothing_is_lost_with_the_process(world: World) -> None:
    await world.running()
    before = set(world.store.intervals())
    world.clock.forward(20)
    world.restart()
    assert set(world.store.intervals()) == before
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    world.restart()
    assert of(world, Kind.USED) == [(NOW, after(20))]


async def test_a_lease_of_an_earlier_version_counts_from_now_on(world: World) -> None:
    await world.running()
    with world.store.transaction():
        world.store._say("DELETE FROM interval")
    world.clock.forward(30)
    world.restart()
    (granted,) = of(world, Kind.GRANTED)
    assert granted[1] is None
    assert len(of(world, Kind.USED)) == 1


async def test_a_lease_that_is_refused_by_the_disk_is_not_counted(world: World) -> None:
    def refused() -> None:
        with world.store.transaction():
            world.leased()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        refused()
    assert world.store.intervals() == []
    world.leased()
    assert len(world.store.intervals()) == 1


async def test_plc_hears_of_each_until_it_knows(world: World) -> None:
    heard: list[Used] = []

    def away(_: object) -> None:
        raise Refusal(Code.UNREACHABLE, "plc is away")

    await world.running()
    with pytest.raises(Refusal):
        await told(world.node, away)
    await told(world.node, heard.extend)
    assert sorted((each.kind, each.slice, each.owner) for each in heard) == [
        ("granted", SLICE, USER.name),
        ("used", SLICE, USER.name),
    ]
    await told(world.node, heard.extend)
    assert len(heard) == 2
    world.restart()
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    await told(world.node, heard.extend)
    assert [each.ended for each in heard] == [None, None, NOW, NOW]
    assert {each.id for each in heard[:2]} == {each.id for each in heard[2:]}
    world.store.tell_again()
    await told(world.node, heard.extend)
    assert len(heard) == 6


async def test_what_changes_while_plc_is_told_is_told_again(world: World) -> None:
    world.leased()
    (found,) = world.store.untold(10)
    world.clock.forward(5)
    world.leased("t-2")
    world.store.told([found])
    assert [each.bound for each in world.store.untold(10)] == [after(5 + LEASELEN)]


async def test_what_plc_knows_is_forgotten_one_day(world: World) -> None:
    await world.running()
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    world.clock.forward(KEPT + 1)
    world.store.purge(world.clock.now())
    assert len(world.store.intervals()) == 2  # nobody has told plc
    world.store.told(world.store.intervals())
    world.store.purge(world.clock.now())
    assert world.store.intervals() == []


async def test_of_each_owner_the_newest_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "OF_OWNER", 3)
    for number in range(5):
        world.leased(f"s-{number}", slice_id=UUID(int=number + 1))
        world.clock.forward(1)
        await world.node.delete(world.user(), SLICE, UUID(int=number + 1), f"s-{number}")
    assert len(world.store.intervals()) == 5
    world.store.told(world.store.untold(10))
    kept: list[Interval] = world.store.intervals()
    assert sorted(each.slice_id.int for each in kept) == [3, 4, 5]
