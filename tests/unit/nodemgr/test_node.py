"""What a node does for its callers: everything but TLS, with a real store and real documents."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from nodemgr.store import LeaseRow
from tests.unit.nodemgr.world import (
    CAPACITY,
    OTHER_ID,
    OTHER_SVM,
    OTHER_USER,
    SLICE,
    SLICE_KEYS,
    USER_KEYS,
    World,
)
from tests.unit.trust.factories import NODE, NOW, SLICE_ID, SVM, USER
from trust.documents import DelegationKind, verify_lease
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import parse_public_key

ASKED = 1_209_600


class refused:  # noqa: N801 - reads as what it is
    """The block must end with a Refusal of this code."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def __enter__(self) -> "refused":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert isinstance(error, Refusal), f"not refused with {self.code}: {error!r}"
        assert error.code is self.code, f"{error.code}: {error.reason}"
        self.refusal = error
        return True


# Tickets to leases


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
    assert lease.expires_at == row.expires_at == NOW + timedelta(seconds=ASKED)
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


# Leases to slivers


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
    assert _only(world).state == "leased"
    world.driver.failing = None
    assert (await world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0])).state == "running"
    assert world.store.removals() == []


# Renewal


async def test_a_renewal_counts_once_however_often_it_is_asked(world: World) -> None:
    await world.running(leaselen=1_000)
    world.clock.forward(600)
    first = world.node.renew(world.svm(), SLICE, SLICE_ID, 1)
    world.clock.forward(100)
    assert world.node.renew(world.svm(), SLICE, SLICE_ID, 1) == first
    assert (first.generation, first.expires_at) == (2, NOW + timedelta(seconds=1_600))
    with refused(Code.STALE_GENERATION) as answer:
        world.node.renew(world.svm(), SLICE, SLICE_ID, 3)
    assert answer.refusal.detail == {"generation": 2}


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


# Keys


async def test_the_whole_key_set_is_replaced_and_sessions_of_gone_keys_end(world: World) -> None:
    await world.running()
    assert await world.node.set_access(world.svm(), SLICE, SLICE_ID, 1, USER_KEYS[:2]) == 1
    assert await world.node.set_access(world.svm(), SLICE, SLICE_ID, 2, USER_KEYS[1:]) == 2
    assert _only(world).keys == tuple(parse_public_key(line).line for line in USER_KEYS[1:])
    assert world.closer.closed == [(SLICE, (parse_public_key(USER_KEYS[0]).fingerprint,))]


async def test_an_older_key_set_is_refused_and_the_same_one_is_not(world: World) -> None:
    await world.running()
    await world.node.set_access(world.svm(), SLICE, SLICE_ID, 5, USER_KEYS[:1])
    await world.node.set_access(world.svm(), SLICE, SLICE_ID, 5, USER_KEYS[:1])
    for generation, keys in [(4, USER_KEYS[:1]), (5, USER_KEYS[:2]), (5, [])]:
        with refused(Code.STALE_GENERATION) as answer:
            await world.node.set_access(world.svm(), SLICE, SLICE_ID, generation, keys)
        assert answer.refusal.detail == {"generation": 5}


async def test_who_may_change_keys(world: World) -> None:
    await world.running()
    for caller, code in [
        (world.user(OTHER_USER), Code.NOT_OWNER),
        (world.user(pi=False), Code.NOT_ALLOWED),
        (world.svm(kind=DelegationKind.STANDING), Code.NOT_ALLOWED),
    ]:
        with refused(code):
            await world.node.set_access(caller, SLICE, SLICE_ID, 1, USER_KEYS[:1])
    with refused(Code.NOT_FOUND):
        await world.node.set_access(world.user(), SLICE, OTHER_ID, 1, USER_KEYS[:1])
    await world.node.set_access(world.svm(kind=DelegationKind.STANDING, heal=True), SLICE, SLICE_ID, 1, USER_KEYS[:1])


async def test_keys_are_removed_but_not_added_while_the_revocation_list_is_old(world: World) -> None:
    await world.running()
    await world.node.set_access(world.user(), SLICE, SLICE_ID, 1, USER_KEYS[:2])
    world.clock.forward(301)
    with refused(Code.CRL_STALE):
        await world.node.set_access(world.user(), SLICE, SLICE_ID, 2, USER_KEYS)
    assert await world.node.set_access(world.user(), SLICE, SLICE_ID, 2, USER_KEYS[:1]) == 2


async def test_more_keys_than_a_slice_may_have_are_refused(world: World) -> None:
    await world.running()
    with refused(Code.BAD_INPUT):
        await world.node.set_access(world.user(), SLICE, SLICE_ID, 1, USER_KEYS[:1] * 1_001)


# Who may log in


async def test_the_access_table_says_who_may_log_in(world: World) -> None:
    assert world.node.lookup(SLICE) is None
    row = world.leased(leaselen=1_000)
    assert world.node.lookup(SLICE) is None
    await world.node.create(world.user(), SLICE, row.token, *SLICE_KEYS[0])
    await world.node.set_access(world.user(), SLICE, SLICE_ID, 1, USER_KEYS[:1])
    world.node.peers = frozenset([("127.0.1.2", 2222)])
    access = world.node.lookup(SLICE)
    assert access is not None
    assert [key.line for key in access.keys] == [parse_public_key(USER_KEYS[0]).line]
    assert access.slice_key.line == parse_public_key(SLICE_KEYS[0][1]).line
    assert (access.slice_id, access.expires_at, access.peers) == (SLICE_ID, row.expires_at, world.node.peers)
    world.clock.forward(1_000)
    assert world.node.lookup(SLICE) is None


async def test_nobody_logs_in_to_a_stopped_owners_slivers(world: World) -> None:
    await world.running()
    world.node.stopped = frozenset([USER])
    assert world.node.lookup(SLICE) is None


# Deletion


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
    assert _only(world).state == "running"


async def test_without_a_delegation_a_service_manager_deletes_nothing(world: World) -> None:
    caller = world.svm().__class__.of(world.peer(SVM), None, world.trust)
    with refused(Code.NOT_ALLOWED):
        await world.node.delete(caller, SLICE, SLICE_ID, "t-1")


async def test_a_deletion_of_an_earlier_slice_of_that_name_leaves_the_later_one(world: World) -> None:
    await world.running()
    await world.node.delete(world.user(), SLICE, OTHER_ID, "t-0")
    await world.node.delete(world.user(OTHER_USER), SLICE, OTHER_ID, None)
    assert _only(world).state == "running"


async def test_a_repeated_deletion_of_an_earlier_ticket_leaves_the_later_lease(world: World) -> None:
    world.leased("t-1")
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    await world.running("t-2")
    await world.node.delete(world.user(), SLICE, SLICE_ID, "t-1")
    assert _only(world).jti == "t-2"


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


async def test_a_deletion_while_the_sliver_is_made_wins(world: World) -> None:
    lease = world.leased()
    world.driver.latency = 0.05
    making = asyncio.create_task(world.node.create(world.user(), SLICE, lease.token, *SLICE_KEYS[0]))
    await asyncio.sleep(0.01)
    assert _only(world).state == "creating"
    deleting = asyncio.create_task(world.node.delete(world.user(), SLICE, SLICE_ID, "t-1"))
    await asyncio.sleep(0.01)
    assert world.store.leases() == []  # it did not wait
    with refused(Code.NOT_FOUND):
        await making
    await deleting
    assert await world.driver.list() == {}
    assert world.store.taken() == 0


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


# Reading


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


def _only(world: World) -> LeaseRow:
    (row,) = world.store.leases()
    return row


def _names(rows: list[LeaseRow]) -> list[str]:
    return [row.slice for row in rows]


def _id(number: int) -> UUID:
    return UUID(int=number + 100)
