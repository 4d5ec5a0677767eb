"""docs/operating.md, "Putting a backup back", step by step: a backup, work that goes on, the backup put back.

Afterwards every difference is mended by itself or named, and each that is named has one command.
"""

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.lab import DONE, FAILED, NOT_ALLOWED, PI, Lab, Ran, until

DAEMONS = ("beat", "worker1", "svmd", "agent", "plc")
SECRET = "correct horse battery\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("restore"))
    short = {"DSLICE_STOPS_SECONDS": "1", "DSLICE_USAGE_SECONDS": "1", "DSLICE_RECONCILE_SECONDS": "3"}
    made.up(real=0, simulated=6, **short)
    try:
        yield made
    finally:
        made.down()


def made(lab: Lab, name: str, numnodes: int = 2) -> None:
    lab.svm("createslice", lab.slice_file(name, numnodes)).must()


def rows(ran: Ran) -> list[dict[str, object]]:
    return [row for row in map(json.loads, ran.must().lines) if row["type"] == "row"]


def key_of(lab: Lab, name: str) -> str:
    path = lab.folder / f"{name}.pub"
    if not path.exists():
        lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path.with_suffix(""))).must()
    return str(path)


def test_a_backup_is_put_back_and_every_difference_is_mended_or_named(lab: Lab) -> None:
    for name in ("kept", "deleted", "renewed", "keyed"):
        made(lab, name, 1)
    lab.svm("addkey", "keyed", key_of(lab, "early")).must()
    before = lab.run("dslice", "backup", "saved", "--encrypt", typed=SECRET).must()
    assert "database.dump" in before.out
    assert "is not empty" in lab.dslice("backup", "saved").must(2).err

    made(lab, "later", 2)  # work goes on
    lab.svm("deleteslice", "deleted").must()
    lab.svm("renewslice", "renewed").must()
    lab.svm("addkey", "keyed", key_of(lab, "late")).must()

    busy = lab.run("dslice", "restore", "saved", typed=SECRET).must(FAILED)
    assert "use the database: stop all of them first" in busy.err
    for daemon in DAEMONS:
        lab.dslice("stop", daemon).must()
    assert "wrong passphrase" in lab.run("dslice", "restore", "saved", typed="another\n").must(NOT_ALLOWED).err
    assert "no backup" in lab.dslice("restore", "nowhere").must(2).err
    done = lab.run("dslice", "restore", "saved", typed=SECRET).must()
    assert "before-restore" in done.out
    for daemon in reversed(DAEMONS):
        lab.dslice("start", daemon).must()
    until(lambda: "6 of 6 nodes are up" in lab.dslice("nodes").err)

    # Made since: orphans, which one command frees; their name is free again then.
    assert sorted({str(row["slice"]) for row in rows(lab.dslice("orphans", "--json"))}) == ["later"]
    assert "2 orphans" in lab.dslice("orphans").must().err
    nodes = [str(row["node"]) for row in rows(lab.dslice("orphans", "--json"))]
    one = lab.dslice("orphan", "free", nodes[0], "later", "--reason", "made since the backup").must()
    assert one.successes == [nodes[0]]
    assert "no orphan on" in lab.dslice("orphan", "free", nodes[0], "--reason", "again").must(FAILED).err
    lab.dslice("orphan", "free", "--all", "--reason", "made since the backup").must()
    until(lambda: "0 orphans" in lab.dslice("orphans").err)
    assert lab.svm("createslice", "later.xml").must().status == DONE

    # Deleted since: named by doctor, and deleteslice ends it.
    until(lambda: "deleted" in lab.svm("doctor").out.replace("is deleted", "") and lab.svm("doctor").status != DONE)
    lab.svm("deleteslice", "deleted").must()

    # Keys and leases: mended. What was kept is as it was.
    until(lambda: lab.svm("doctor").status == DONE)
    assert "early" in lab.svm("status", "keyed").must().out
    assert "late" not in lab.svm("status", "keyed").must().out
    for name in ("kept", "renewed", "keyed", "later"):
        lab.svm("renewslice", name).must()
        lab.svm("deleteslice", name).must()
    assert PI in lab.dslice("usage").must().out
    assert rows(lab.dslice("slices", "--json")) == []
