"""Key sets, and what the front door learns of them."""

from dataclasses import replace

import pytest

from nodemgr.access import Access
from tests.unit.nodemgr.world import (
    OTHER_ID,
    OTHER_USER,
    SLICE,
    SLICE_KEYS,
    USER_KEYS,
    World,
    only,
    refused,
)
from tests.unit.trust.factories import SLICE_ID, USER
from trust.documents import DelegationKind
from trust.errors import Code
from trust.sshkeys import PublicKey, parse_public_key


async def test_the_whole_key_set_is_replaced_and_sessions_of_gone_keys_end(world: World) -> None:
    await world.running()
    assert await world.node.set_access(world.svm(), SLICE, SLICE_ID, 1, USER_KEYS[:2]) == 1
    assert await world.node.set_access(world.svm(), SLICE, SLICE_ID, 2, USER_KEYS[1:]) == 2
    assert only(world).keys == tuple(parse_public_key(line).line for line in USER_KEYS[1:])
    assert world.closer.closed == [(SLICE, (parse_public_key(USER_KEYS[0]).fingerprint,))]


async def test_keys_are_read_when_they_change_and_not_at_each_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers have them looked up as often as they like, and reading 999 takes 18 ms."""
    await world.running()
    read: list[str] = []

    def noted(line: str) -> PublicKey:
        read.append(line)
        return parse_public_key(line)

    monkeypatch.setattr("nodemgr.node.parse_public_key", noted)
    for generation, keys in enumerate((USER_KEYS[:2], USER_KEYS[1:]), 1):
        await world.node.set_access(world.svm(), SLICE, SLICE_ID, generation, keys)
        assert [key.blob for key in found(world).keys] == [parse_public_key(line).blob for line in keys]
        read.clear()
        for _ in range(3):
            found(world)
        assert read == []


def found(world: World) -> Access:
    access = world.node.lookup(SLICE)
    assert access is not None
    return access


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


async def test_nobody_logs_in_to_a_sliver_that_is_being_made_or_could_not_be(world: World) -> None:
    lease = world.leased()
    making = replace(lease, state="creating", slice_key=SLICE_KEYS[0][1])
    for row in (making, lease):
        world.store.put(row)
        assert world.node.lookup(SLICE) is None


async def test_nobody_logs_in_to_a_stopped_owners_slivers(world: World) -> None:
    await world.running()
    world.node.stopped = frozenset([USER])
    assert world.node.lookup(SLICE) is None
