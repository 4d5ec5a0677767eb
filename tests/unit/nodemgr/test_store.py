"""The store alone: what SQLite itself refuses, and what survives a crash."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from nodemgr.storage.databasefile import DatabaseFile
from nodemgr.storage.store import KEPT, PAST_KEPT, Burnt, LeaseRow, Store
from tests.unit.nodemgr.world import OTHER_ID, OTHER_USER
from tests.unit.trust.factories import AGENT, NODE, NOW, SLICE_ID, SVM, USER
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

END = NOW + timedelta(seconds=1_000)


def lease(**changes: Any) -> LeaseRow:
    row = LeaseRow(
        slice="oceanstore",
        slice_id=SLICE_ID,
        owner=USER,
        via=SVM,
        jti="t-1",
        leaselen=1_000,
        generation=1,
        token="a.b.c",
        expires_at=END,
        state="leased",
        slice_key=None,
        key_generation=0,
        keys=("ssh-ed25519 AAAA", "ssh-rsa BBBB"),
    )
    return replace(row, **changes)


def burnt(jti: str = "t-1", owner: Identity = USER, agent: Identity | None = AGENT) -> Burnt:
    return Burnt(jti, owner, agent, SLICE_ID, END)


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Store(tmp_path / "node.db", NODE)
    made.burn(burnt())
    yield made
    made.close()


def test_a_lease_comes_back_as_it_was(store: Store) -> None:
    for row in (lease(), lease(via=None, state="running", slice_key="ssh-ed25519 CCCC", keys=())):
        store.put(row)
        assert store.lease("oceanstore") == row
        assert store.leases() == [row]


@pytest.mark.parametrize(
    "changes",
    [
        {"leaselen": 0},
        {"leaselen": 1_209_601},
        {"generation": 0},
        {"state": "deleted"},
        {"state": "running"},  # without a slice key
        {"key_generation": -1},
        {"jti": "never-burnt"},
        {"owner": OTHER_USER},
    ],
)
def test_what_cannot_be_is_refused_by_the_database_itself(store: Store, changes: dict[str, Any]) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        store.put(lease(**changes))
    assert store.leases() == []


def test_one_ticket_makes_one_lease(store: Store) -> None:
    store.put(lease())
    with pytest.raises(sqlite3.IntegrityError):
        store.put(lease(slice="other", slice_id=OTHER_ID))


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    class Boom(BaseException):
        pass

    def work() -> None:
        with store.transaction():
            store.put(lease())
            store.add_removal("oceanstore", SLICE_ID)
            raise Boom

    with pytest.raises(Boom):
        work()
    assert (store.leases(), store.removals()) == ([], [])


def test_forgetting_keeps_the_generation_and_lists_the_sliver_for_removal(store: Store) -> None:
    store.put(lease(generation=4))
    store.forget(lease(generation=4), NOW)
    assert (store.past_generation(SLICE_ID), store.removals()) == (4, [])  # there was no sliver
    running = lease(generation=3, state="running", slice_key="k")
    store.put(running)
    store.forget(running, NOW)
    assert (store.past_generation(SLICE_ID), store.removals()) == (4, [("oceanstore", SLICE_ID)])
    assert store.taken() == 1
    store.removed("oceanstore")
    assert store.taken() == 0


def test_agents_are_told_of_their_own_tickets_until_they_end(store: Store) -> None:
    other = Identity(Role.AGENT, "other")
    store.burn(burnt("t-2", agent=other))
    store.burn(burnt("t-3", agent=None))
    assert set(store.recently_burnt(AGENT, NOW, 10)) == {"t-1", "t-3"}
    assert set(store.recently_burnt(other, NOW, 10)) == {"t-2", "t-3"}
    assert len(store.recently_burnt(AGENT, NOW, 1)) == 1
    assert store.recently_burnt(AGENT, END, 10) == []


def test_burning_twice_changes_nothing(store: Store) -> None:
    store.burn(burnt(agent=None))
    assert store.burnt("t-1", USER) == burnt()
    assert store.burnt("t-1", OTHER_USER) is None


def test_purging_leaves_what_can_still_matter(store: Store) -> None:
    store.put(lease())
    store.burn(burnt("t-2"))
    store.forget(lease(slice="gone", slice_id=OTHER_ID), NOW)
    store.purge(END + timedelta(seconds=KEPT))
    assert store.burnt("t-2", USER) is not None
    store.purge(NOW + timedelta(seconds=PAST_KEPT))
    assert store.past_generation(OTHER_ID) == 1
    store.purge(NOW + timedelta(seconds=PAST_KEPT + 1))
    assert store.burnt("t-2", USER) is None
    assert store.burnt("t-1", USER) is not None  # its lease is there
    assert store.past_generation(OTHER_ID) == 0


def test_another_nodes_file_and_another_versions_are_refused(store: Store, tmp_path: Path) -> None:
    store.close()
    with pytest.raises(Refusal) as caught:
        Store(tmp_path / "node.db", Identity(Role.NODE, "n2"))
    assert caught.value.code is Code.BAD_INPUT
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Refusal) as caught:
        Store(tmp_path / "node.db", NODE)
    assert "99" in caught.value.reason


def test_it_is_as_durable_as_sqlite_can_be(store: Store) -> None:
    pragmas = {
        name: store._file.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.parametrize(("durable", "waits"), [(True, 2), (False, 0)])
def test_only_simulated_nodes_wait_for_no_disk(tmp_path: Path, durable: bool, waits: int) -> None:
    store = Store(tmp_path / "waiting.db", NODE, durable=durable)
    assert store._file.rows("PRAGMA synchronous") == [(waits,)]
    store.close()


WRITER = """
import sys
from pathlib import Path
from tests.unit.nodemgr.test_store import burnt, lease, NODE, Store
from dataclasses import replace
from uuid import UUID
store = Store(Path(sys.argv[1]), NODE, durable=sys.argv[2] == "True")
for number in range(1, 1_000_000):
    with store.transaction():
        store.burn(replace(burnt(), jti=f"t-{number}"))
        store.put(lease(slice=f"s{number}", slice_id=UUID(int=number), jti=f"t-{number}"))
    print(number, flush=True)
"""


@pytest.mark.parametrize("durable", [True, False])
def test_what_was_answered_survives_kill_9(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "killed.db"
    said = 0
    for _ in range(2):
        path.unlink(missing_ok=True)
        for leftover in tmp_path.glob("killed.db-*"):
            leftover.unlink()
        argv = [sys.executable, "-c", WRITER, str(path), str(durable)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(20):
            said = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        said = int(rest[-1]) if rest else said
        store = Store(path, NODE)
        numbers = {row.slice_id for row in store.leases()}
        assert numbers >= {UUID(int=number) for number in range(1, said + 1)}
        assert all(store.burnt(row.jti, row.owner) for row in store.leases())
        store.close()


async def test_what_comes_together_is_one_commit_and_one_refusal_takes_only_its_own_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = DatabaseFile.write

    def noted(file: DatabaseFile, statements: list[Any]) -> None:
        written.append(len(statements))
        write(file, statements)

    def refusing() -> None:
        with store.transaction():
            store.add_removal("other", OTHER_ID)
            raise Refusal(Code.BUSY, "not now")

    monkeypatch.setattr(DatabaseFile, "write", noted)
    good = [partial(store.burn, burnt("t-2")), partial(store.put, lease()), partial(store.burn, burnt("t-3"))]
    works: list[Callable[[], None]] = [good[0], refusing, *good[1:]]
    ended = await asyncio.gather(*(store.together(work) for work in works), return_exceptions=True)
    assert [type(each) for each in ended] == [type(None), Refusal, type(None), type(None)]
    assert (written, store.removals(), store.leases()) == ([4], [], [lease()])
    assert store.burnt("t-3", USER) == burnt("t-3")


async def test_what_the_disk_refuses_is_one_ones_trouble_too(store: Store) -> None:
    rows = [lease(), lease(slice="other", jti="never-burnt", slice_id=OTHER_ID)]
    ended = await asyncio.gather(*(store.together(partial(store.put, row)) for row in rows), return_exceptions=True)
    assert [type(each) for each in ended] == [type(None), sqlite3.IntegrityError]
    assert store.leases() == [lease()]
