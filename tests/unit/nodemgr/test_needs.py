"""What slices need, at a node: admitted by memory and disk, granted in the lease, given to the driver, kept on disk."""

import json
import sqlite3
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agent.client import FrontDoor
from nodemgr.admission import Capacity, Held, Promised, Room, admit, share_of_disk
from nodemgr.advertise import Location, advertisement
from nodemgr.daemon import _capacity
from nodemgr.settings import Settings
from nodemgr.slivers.drivers.driver import SliverSpec
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from nodemgr.storage.disk import Disk
from nodemgr.storage.store import Store
from tests.unit.nodemgr.world import CAPACITY, NODE, SLICE_KEYS, World, only, refused
from tests.unit.trust.factories import AGENT, NOW, SLICE_ID, USER, ticket
from trust.documents import verify_lease
from trust.errors import Code, Refusal
from trust.needs import NOTHING, Needs

PLACE = Location("127.0.0.1", "https://127.0.0.1:1", "here", FrontDoor("127.0.0.1", 22, "ssh-ed25519 AAAA"))
BIG = Needs(memory_mb=600, processes=64, cpu=200)


def reason(needs: Needs, promised: Promised, held: Held | None = None, writable: int | None = None) -> str | None:
    """Why a node of 1,000 MiB of memory, 100 for each, and 5,000 of disk refuses it."""
    capacity = Capacity(slots=9, memory_mb=1_000, sliver_mb=100, processes=10, most_processes=50, disk_mb=5_000)
    try:
        admit(ticket(needs=needs), agents=[AGENT], held=held, room=Room(capacity, promised, writable))
    except Refusal as refusal:
        return refusal.reason
    return None


def test_memory_and_disk_are_sums_over_leases() -> None:
    before = Promised(places=3, plain=2, memory_mb=500, disk_mb=3_000)
    assert reason(Needs(memory_mb=300), before) is None
    said = reason(Needs(memory_mb=301), before)
    assert said == "300 MiB of memory are free on this node and 301 are asked for; take another node"
    assert reason(Needs(disk_mb=2_000), before) is None
    assert "2,000 MiB of disk are free" in (reason(Needs(disk_mb=2_001), before) or "")
    assert "50 MiB of disk are free" in (reason(Needs(disk_mb=51), before, writable=50) or "")


def test_a_plain_slice_takes_what_the_node_gives_each() -> None:
    assert reason(NOTHING, Promised(places=2, plain=1, memory_mb=800)) is None
    assert "99 MiB of memory are free on this node; take" in (reason(NOTHING, Promised(2, 1, 801)) or "")


def test_a_plain_slice_takes_the_disk_that_the_node_gives_each() -> None:
    capacity = Capacity(slots=9, memory_mb=1_000, sliver_mb=100, processes=10, disk_mb=5_000, sliver_disk_mb=1_000)

    def room(plain: int, disk: int = 0, writable: int | None = None) -> Room:
        return Room(capacity, Promised(plain, plain, 0, disk, plain), writable)

    assert [room(plain).slots_free for plain in (0, 4, 5, 6)] == [5, 1, 0, 0]
    assert (room(1, 2_500).slots_free, room(1, 0, 3_999).slots_free) == (1, 3)
    admit(ticket(), agents=[AGENT], held=None, room=room(4))
    admit(ticket(), agents=[AGENT], held=Held(SLICE_ID, USER), room=room(5))
    with pytest.raises(Refusal, match="0 MiB of disk are free on this node; take another"):
        admit(ticket(), agents=[AGENT], held=None, room=room(5))
    with pytest.raises(Refusal, match="1,000 MiB of disk are free on this node and 1,001 are asked for"):
        admit(ticket(needs=Needs(disk_mb=1_001)), agents=[AGENT], held=None, room=room(4))


@pytest.mark.parametrize(
    ("disk_mb", "places", "share"),
    [(250_000, 16, 4_096), (20_000, 16, 1_024), (16_384, 16, 1_024), (16_383, 16, 512), (1_000, 16, 0), (0, 16, 0)],
)
def test_each_sliver_s_share_of_the_disk(disk_mb: int, places: int, share: int) -> None:
    assert share_of_disk(disk_mb, places) == share
    assert share * places <= disk_mb


def test_more_processes_than_a_sliver_may_have() -> None:
    assert reason(Needs(processes=50), Promised()) is None
    assert "a sliver has 50 processes at most" in (reason(Needs(processes=51), Promised()) or "")


def test_the_holder_may_ask_anew_in_the_place_of_what_it_has() -> None:
    full, has = Promised(places=1, memory_mb=1_000), Needs(memory_mb=1_000)
    held = Held(SLICE_ID, USER, has)
    assert reason(has, full, held) is None
    assert reason(Needs(memory_mb=900), full, held) is None
    assert "1,000 MiB of memory are free" in (reason(Needs(memory_mb=1_001), full, held) or "")
    assert "a sliver with other needs" in (reason(NOTHING, full, replace(held, has_sliver=True)) or "")


async def test_from_the_ticket_to_the_driver_and_back_after_a_restart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SliverSpec] = []
    create = world.driver.create

    async def seen(spec: SliverSpec) -> None:
        made.append(spec)
        await create(spec)

    monkeypatch.setattr(type(world.driver), "create", lambda _self, spec: seen(spec))
    lease = await world.running(needs=BIG)
    assert (made[0].memory_mb, made[0].processes, made[0].cpu, made[0].disk_mb) == (600, 64, 200, None)
    assert verify_lease(lease.token, store=world.trust).needs == BIG
    world.restart()
    assert only(world).needs == BIG
    renewed = world.node.renew(world.user(), lease.slice, lease.slice_id, 1)
    assert verify_lease(renewed.token, store=world.trust).needs == BIG


async def test_what_is_promised_is_taken_until_it_is_removed(world: World) -> None:
    world.leased("t-0", slice="plain", slice_id=uuid4())
    lease = await world.running(needs=BIG)
    assert world.store.promised() == Promised(places=2, plain=1, memory_mb=600, plain_disk=2)
    with refused(Code.OVER_CAPACITY):
        world.leased("t-2", slice="other", slice_id=uuid4(), needs=Needs(memory_mb=301))
    world.driver.failing = "stuck"
    with refused(Code.INTERNAL):
        await world.node.delete(world.user(), lease.slice, lease.slice_id, None)
    for _ in range(2):
        assert world.store.promised() == Promised(places=2, plain=1, memory_mb=600, plain_disk=2)
        world.restart()
    world.driver.failing = None
    await world.node.remove(lease.slice)
    assert world.store.promised() == Promised(places=1, plain=1, plain_disk=1)
    world.leased("t-2", slice="other", slice_id=uuid4(), needs=Needs(memory_mb=900))


async def test_a_sliver_with_other_needs_has_to_end_first(world: World) -> None:
    lease = await world.running(needs=BIG)
    with refused(Code.NAME_TAKEN):
        world.leased("t-2")
    await world.node.delete(world.user(), lease.slice, lease.slice_id, None)
    assert world.leased("t-3").needs == NOTHING
    assert world.leased("t-4", needs=BIG).needs == BIG  # its place, and no sliver yet
    assert world.store.promised().memory_mb == 600


async def test_a_refused_transaction_leaves_what_was_promised(world: World) -> None:
    world.leased(needs=BIG)
    other = replace(only(world), slice="other", slice_id=uuid4(), needs=Needs(memory_mb=50))
    with suppress(sqlite3.IntegrityError), world.store.transaction():
        world.store.put(replace(only(world), needs=NOTHING))
        world.store.put(other)  # of a ticket that made a lease already
        assert world.store.promised() == Promised(places=2, plain=1, memory_mb=50, plain_disk=2)
    assert world.store.promised() == Promised(places=1, memory_mb=600, plain_disk=1)


def test_the_advertisement_says_what_can_still_be_promised(world: World) -> None:
    world.node.capacity = replace(CAPACITY, disk_mb=5_000, most_processes=77)
    world.leased(needs=Needs(memory_mb=850, disk_mb=1_500))
    ad = advertisement(world.node, PLACE)
    assert (ad.slots_free, ad.memory_free_mb, ad.disk_unpromised_mb) == (1, 150, 3_500)
    assert (ad.sliver_mb, ad.most_processes, ad.memory_mb, ad.disk_mb) == (100, 77, 1_000, 5_000)
    assert (ad.quota, ad.images) == ("none", None)
    world.node.disk = Disk(world.folder, floor_mb=1 << 40)  # full
    ad = advertisement(world.node, PLACE)
    assert (ad.slots_free, ad.disk_unpromised_mb) == (0, 0)


def test_a_node_without_a_count_of_its_disk_says_none(world: World) -> None:
    assert advertisement(world.node, PLACE).disk_unpromised_mb is None


VERSION_4 = """
CREATE TABLE node (uri TEXT PRIMARY KEY) STRICT;
CREATE TABLE burnt (
    jti TEXT NOT NULL, owner TEXT NOT NULL, agent TEXT NOT NULL, slice_id TEXT NOT NULL, expires_at INTEGER NOT NULL,
    PRIMARY KEY (jti, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX burnt_owner ON burnt (owner, agent);
CREATE TABLE lease (
    slice TEXT PRIMARY KEY, slice_id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, via TEXT, jti TEXT NOT NULL UNIQUE,
    leaselen INTEGER NOT NULL CHECK (leaselen BETWEEN 1 AND 1209600),
    generation INTEGER NOT NULL CHECK (generation >= 1), token TEXT NOT NULL, expires_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('leased', 'creating', 'running')), slice_key TEXT,
    key_generation INTEGER NOT NULL CHECK (key_generation >= 0), keys TEXT NOT NULL CHECK (keys GLOB '[[]*]'),
    pair_generation INTEGER NOT NULL DEFAULT 0 CHECK (pair_generation >= 0),
    CHECK (state = 'leased' OR slice_key IS NOT NULL), FOREIGN KEY (jti, owner) REFERENCES burnt
) STRICT;
CREATE TABLE removal (slice TEXT NOT NULL, slice_id TEXT NOT NULL, PRIMARY KEY (slice, slice_id)) STRICT, WITHOUT ROWID;
CREATE TABLE stopped (owner TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE past (
    slice_id TEXT PRIMARY KEY, generation INTEGER NOT NULL CHECK (generation >= 1), ended_at INTEGER NOT NULL,
    owner TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 4;
"""


def test_a_store_from_before_there_were_needs(tmp_path: Path) -> None:
    gone, end = uuid4(), int((NOW + timedelta(seconds=1_000)).timestamp())
    row: tuple[Any, ...] = ("oceanstore", str(SLICE_ID), USER.uri, None, "t-1", 1_000, 3, "a.b.c", end)
    with sqlite3.connect(tmp_path / "node.db") as old:
        old.executescript(VERSION_4)
        old.execute("INSERT INTO node VALUES (?)", [NODE.uri])
        old.execute("INSERT INTO burnt VALUES ('t-1', ?, ?, ?, ?)", [USER.uri, AGENT.uri, str(SLICE_ID), end])
        old.execute(
            f"INSERT INTO lease VALUES ({', '.join('?' * 14)})",  # noqa: S608 - question marks
            [*row, "running", SLICE_KEYS[0][1], 2, json.dumps(["ssh-ed25519 AAAA"]), 1],
        )
        old.execute("INSERT INTO removal VALUES ('older', ?)", [str(gone)])
    old.close()
    for _ in range(2):
        store = Store(tmp_path / "node.db", NODE)
        (lease,) = store.leases()
        assert (lease.generation, lease.keys, lease.needs) == (3, ("ssh-ed25519 AAAA",), NOTHING)
        assert store.removals() == [("older", gone)]
        assert store.promised() == Promised(places=2, plain=2, plain_disk=2)
        store.close()
    store = Store(tmp_path / "node.db", NODE)
    store.put(replace(lease, needs=BIG))
    store.add_removal("newer", SLICE_ID, Needs(disk_mb=70))
    store.close()
    store = Store(tmp_path / "node.db", NODE)
    assert store.lease("oceanstore") == replace(lease, needs=BIG)
    assert store.promised() == Promised(places=3, plain=2, memory_mb=600, disk_mb=70, plain_disk=2)
    store.close()


@pytest.mark.parametrize(("said", "own"), [("", 1_024), ("0", 0), ("700", 700)])
def test_a_node_gives_each_its_share_where_slivers_have_disks(
    said: str, own: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"NAME": "n", "NODE_ADDRESS": "127.0.0.1", "STATE_DIR": str(tmp_path), "PLC_URL": "https://x"}
    variables |= {"SLOTS": "10", "READY_SLIVERS": "1"} | ({"SLIVER_DISK_MB": said} if said else {})
    for name, value in variables.items():
        monkeypatch.setenv(f"DSLICE_{name}", value)
    settings, driver = Settings.load(), SimulatedDriver(tmp_path / "slivers")
    monkeypatch.setattr(Disk, "room_mb", 14_000)
    assert _capacity(settings, driver, Disk(tmp_path, 0)).sliver_disk_mb == 0
    driver.quota = "hard"
    assert _capacity(settings, driver, Disk(tmp_path, 0)).sliver_disk_mb == own
    driver.taken_mb = 12_000
    assert _capacity(settings, driver, Disk(tmp_path, 0)).sliver_disk_mb == (own if said else 2_048)
