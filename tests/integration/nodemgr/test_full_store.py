"""A node's store on a disk that is full: a real one, on which somebody else takes every byte that becomes free."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nodemgr.storage.store import Store
from tests.integration.nodemgr.disk import fill, greedy, play
from tests.unit.nodemgr.test_store import burnt, lease
from tests.unit.trust.factories import NODE, NOW, SLICE_ID, USER
from trust.errors import Code, Refusal

RESERVE = 4 << 20
RUNNING = {"state": "running", "slice_key": "ssh-ed25519 CCCC"}


def opened(folder: Path, reserve: int = RESERVE) -> Store:
    store = Store(folder / "node.db", NODE, reserve)
    store.burn(burnt())
    if store.lease("oceanstore") is None:
        store.put(lease(**RUNNING))
    return store


def everything_is_written(folder: Path) -> None:
    """Hundreds of changes, then a clean end, a start, and more of them: none waits for room."""
    opened(folder).close()
    store = opened(folder)
    with greedy(folder):
        for number in range(1, 400):
            store.put(lease(**RUNNING, generation=number, keys=("ssh-ed25519 AAAA" * 20,)))
        assert store.owed == 0
        store.close()
        store = Store(folder / "node.db", NODE, RESERVE)
        (row,) = store.leases()
        assert row.generation == 399
        for number in range(400, 800):
            store.put(lease(**RUNNING, generation=number, keys=("ssh-ed25519 AAAA" * 20,)))
        store.forget(row, NOW)
        assert store.owed == 0
        store.close()
        store = Store(folder / "node.db", NODE, RESERVE)
        assert (store.leases(), store.past_generation(SLICE_ID)) == ([], 399)
        store.close()


def what_takes_away_runs_ahead(folder: Path) -> None:
    """A file system that gives the store no room at all: what adds is refused, what takes away counts at once."""
    store = opened(folder, reserve=0)
    taken = fill(folder)
    _until_it_takes_nothing(store)
    with pytest.raises(Refusal) as caught:
        store.put(lease(**RUNNING, generation=9))
    assert (caught.value.code, store.leases()[0].generation) == (Code.DISK_FULL, 1)
    with store.transaction(ahead="oceanstore"):
        store.put(lease(**RUNNING, keys=()))
    assert (store.leases()[0].keys, store.owed) == ((), 1)
    # As after a crash: the file has the keys still, and nobody is let in by them.
    again = Store(folder / "node.db", NODE)
    assert again.leases()[0].keys == ()
    again.close()
    store.settle()
    assert store.owed == 1
    taken.unlink()
    store.settle()
    assert store.owed == 0
    store.close()
    assert not list((folder / "node.db-behind").iterdir())
    last = Store(folder / "node.db", NODE)
    assert (last.leases()[0].keys, last.owed) == ((), 0)
    last.close()


def stopped_owners_stay_out(folder: Path) -> None:
    """Whom plc had stopped could not be written: nobody is let in until plc has said it again."""
    store = opened(folder, reserve=0)
    taken = fill(folder)
    _until_it_takes_nothing(store)
    store.set_stopped([USER])
    assert (store.stopped(), store.owners_unknown) == (frozenset([USER]), False)
    again = Store(folder / "node.db", NODE)
    assert (again.stopped(), again.owners_unknown) == (frozenset(), True)
    taken.unlink()
    again.burn(replace(burnt(), jti="t-9"))
    assert again.owners_unknown
    again.close()
    again = Store(folder / "node.db", NODE)
    assert again.owners_unknown
    again.set_stopped([USER])
    again.close()
    last = Store(folder / "node.db", NODE)
    assert (last.stopped(), last.owners_unknown) == (frozenset([USER]), False)
    last.close()


def ballast_is_given_back_and_made_again(folder: Path) -> None:
    """Where writing takes new blocks (here: a log that has outgrown its own) the ballast goes first."""
    store = opened(folder)
    assert store._file.ballast.held
    taken = fill(folder)
    store._file.connection.execute("PRAGMA wal_autocheckpoint = 0")
    number = 1
    while store._file.ballast.held and number < 5_000:
        number += 1
        store.put(lease(**RUNNING, generation=number, token="t" * 8_000))
    assert (store._file.ballast.held, store.owed) == (False, 0)
    taken.unlink()
    store.settle()
    assert store._file.ballast.held
    store.close()


def _until_it_takes_nothing(store: Store) -> None:
    """Use up the blocks that the file and its log have."""
    for number in range(2, 5_000):
        try:
            store.burn(replace(burnt(), jti=f"t-{number}", expires_at=NOW + timedelta(days=9)))
        except Refusal as refusal:
            assert refusal.code is Code.DISK_FULL  # noqa: PT017
            return
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize(
    "scenario",
    [
        everything_is_written,
        what_takes_away_runs_ahead,
        stopped_owners_stay_out,
        ballast_is_given_back_and_made_again,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_a_store_on_a_full_disk(scenario: object, tmp_path: Path) -> None:
    play(scenario, tmp_path / "disk", "24m")  # type: ignore[arg-type]
