"""Tickets to leases, and who sees them: a real store and real documents, no TLS."""

from datetime import timedelta
from uuid import UUID

from nodemgr.storage.store import LeaseRow
from tests.unit.nodemgr.world import (
    CAPACITY,
    OTHER_ID,
    OTHER_SVM,
    OTHER_USER,
    SLICE,
    World,
    refused,
)
from tests.unit.trust.factories import NODE, NOW, SLICE_ID, SVM, USER
from trust.documents import verify_lease
from trust.errors import Code
from trust.identity import Identity, Role


def test_a_ticket_becomes_a_signed_lease(world: World) -> None:
    row = world.node.redeem(world.svm(), world.ticket())
    lease = verify_lease(row.token, store=world.trust)
    assert (lease.issuer, lease.owner, lease.slice, lease.slice_id, lease.generation) == (
        NODE,
        USER,
        SLICE,
        SLICE_ID,
        1,
    )
    assert lease.expires_at == row.expires_at == NOW + timedelta(seconds=1_209_600)
    assert (row.state, row.via) == ("leased", SVM)


def test_the_same_holder_gets_the_same_lease_for_a_burnt_ticket(world: World) -> None:
    ticket = world.ticket()
    first = world.node.redeem(world.svm(), ticket)
    world.clock.forward(100)
    assert world.node.redeem(world.svm(), ticket) == first
    world.restart()
    assert world.node.redeem(world.user(), ticket).token == first.token
    assert world.store.taken() == 1


async def test_a_burnt_ticket_whose_lease_was_deleted_is_refused(world: World) -> None:
    ticket = world.ticket()
    world.node.redeem(world.svm(), ticket)
    await world.node.delete(world.svm(), SLICE, SLICE_ID, "t-1")
    with refused(Code.TICKET_EXPIRED):
        world.node.redeem(world.svm(), ticket)
    assert world.store.leases() == []


def test_a_burnt_ticket_whose_lease_has_ended_is_refused(world: World) -> None:
    ticket = world.ticket(leaselen=100)
    world.node.redeem(world.user(), ticket)
    world.clock.forward(100)
    with refused(Code.TICKET_EXPIRED):
        world.node.redeem(world.user(), ticket)


async def test_a_ticket_deleted_before_it_was_redeemed_is_burnt(world: World) -> None:
    ticket = world.ticket()
    await world.node.delete(world.svm(), SLICE, SLICE_ID, "t-1")
    with refused(Code.TICKET_EXPIRED):
        world.node.redeem(world.svm(), ticket)


async def test_nobody_burns_another_owners_ticket(world: World) -> None:
    await world.node.delete(world.user(OTHER_USER), SLICE, SLICE_ID, "t-1")
    assert world.leased().generation == 1


def test_a_refused_ticket_is_not_burnt(world: World) -> None:
    world.node.full = True
    ticket = world.ticket()
    with refused(Code.OVER_CAPACITY):
        world.node.redeem(world.user(), ticket)
    world.node.full = False
    assert world.node.redeem(world.user(), ticket).generation == 1


def test_slots_are_counted(world: World) -> None:
    for number, name in enumerate(["aa", "bb", "cc"]):
        world.leased(f"t-{number}", slice=name, slice_id=_id(number))
    with refused(Code.OVER_CAPACITY):
        world.leased("t-9", slice="dd", slice_id=_id(9))


def test_tickets_of_others_and_for_others_are_refused(world: World) -> None:
    with refused(Code.NOT_ALLOWED):
        world.leased(issuer=Identity(Role.AGENT, "another"))
    with refused(Code.NOT_ALLOWED):
        world.leased(node=Identity(Role.NODE, "n2"))
    with refused(Code.NOT_OWNER):
        world.node.redeem(world.user(OTHER_USER), world.ticket())
    with refused(Code.NOT_OWNER):
        world.node.redeem(world.svm(issuer=OTHER_USER), world.ticket())
    with refused(Code.NOT_ALLOWED):
        world.node.redeem(world.svm("another"), world.ticket())


def test_only_pis_make_slivers(world: World) -> None:
    with refused(Code.NOT_ALLOWED):
        world.node.redeem(world.user(pi=False), world.ticket())


def test_an_expired_ticket_is_refused(world: World) -> None:
    ticket = world.ticket()
    world.clock.forward(3_700)
    with refused(Code.TICKET_EXPIRED):
        world.node.redeem(world.user(), ticket)


def test_a_name_that_is_here_already_is_refused_to_others(world: World) -> None:
    world.leased()
    with refused(Code.NAME_TAKEN):
        world.leased("t-2", owner=OTHER_USER, slice_id=OTHER_ID)
    with refused(Code.NAME_TAKEN):
        world.leased("t-3", slice_id=OTHER_ID)


async def test_a_second_ticket_for_the_same_slice_goes_on_from_the_first(world: World) -> None:
    first = await world.running()
    world.clock.forward(10)
    second = world.leased("t-2")
    assert (second.generation, second.state, second.slice_key) == (2, "running", first.slice_key)
    assert world.store.taken() == 1
    with refused(Code.TICKET_EXPIRED):
        world.leased("t-1")


def test_a_lease_is_at_most_as_long_as_the_node_grants(world: World) -> None:
    world.node.capacity = CAPACITY.__class__(slots=3, memory_mb=1_000, sliver_mb=100, processes=10, longest=500)
    assert world.leased().expires_at == NOW + timedelta(seconds=500)


async def test_each_sees_what_is_his(world: World) -> None:
    world.node.redeem(world.svm(), world.ticket())
    world.leased("t-2", owner=OTHER_USER, slice="other", slice_id=OTHER_ID)
    assert _names(world.node.inventory(world.user())) == [SLICE]
    assert _names(world.node.inventory(world.user(OTHER_USER))) == ["other"]
    assert _names(world.node.inventory(world.svm())) == [SLICE]
    assert world.node.inventory(world.svm(svm=OTHER_SVM)) == []
    assert world.node.get(world.svm(), SLICE).jti == "t-1"
    assert world.node.get(world.svm(svm=OTHER_SVM), SLICE).jti == "t-1"
    bare = world.svm().__class__.of(world.peer(SVM), None, world.trust)
    assert world.node.get(bare, SLICE).jti == "t-1"
    with refused(Code.NOT_OWNER):
        world.node.get(bare, "other")
    with refused(Code.NOT_OWNER):
        world.node.get(world.user(OTHER_USER), SLICE)
    with refused(Code.NOT_FOUND):
        world.node.get(world.user(), "third")


def _names(rows: list[LeaseRow]) -> list[str]:
    return [row.slice for row in rows]


def _id(number: int) -> UUID:
    return UUID(int=number + 100)
