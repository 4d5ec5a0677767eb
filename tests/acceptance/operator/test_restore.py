"""docs/operating.md, "Putting a backup back", step by step: a backup, work that goes on, the backup put back.

Afterwards every difference is mended by itself or named, and each that is named has one command. Each test goes on
where the one before it ended.
"""

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.browsing import served
from tests.acceptance.lab import DONE, FAILED, NOT_ALLOWED, PI, USAGE, Lab, Ran, until

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


def test_a_backup_is_made_and_work_goes_on(lab: Lab) -> None:
    for name in ("kept", "deleted", "renewed", "keyed"):
        made(lab, name, 1)
    lab.svm("addkey", "keyed", key_of(lab, "early")).must()
    before = lab.run("dslice", "backup", "saved", "--encrypt", typed=SECRET).must()
    assert "database.dump" in before.out
    assert "is not empty" in lab.dslice("backup", "saved").must(USAGE).err

    made(lab, "later", 3)
    lab.svm("deleteslice", "deleted").must()
    lab.svm("renewslice", "renewed").must()
    lab.svm("addkey", "keyed", key_of(lab, "late")).must()


def test_it_is_put_back_while_daemons_are_down(lab: Lab) -> None:
    busy = lab.run("dslice", "restore", "saved", typed=SECRET).must(FAILED)
    assert "use the database: stop all of them first" in busy.err
    for daemon in DAEMONS:
        lab.dslice("stop", daemon).must()
    assert "wrong passphrase" in lab.run("dslice", "restore", "saved", typed="another\n").must(NOT_ALLOWED).err
    assert "no backup" in lab.dslice("restore", "nowhere").must(USAGE).err
    done = lab.run("dslice", "restore", "saved", typed=SECRET).must()
    assert "before-restore" in done.out
    for daemon in reversed(DAEMONS):
        lab.dslice("start", daemon).must()
    until(lambda: "6 of 6 nodes are up" in lab.dslice("nodes").err)


def test_what_was_made_since_is_an_orphan_which_one_command_frees(lab: Lab) -> None:
    found = rows(lab.dslice("orphans", "--json"))
    assert [row["slice"] for row in found] == ["later"] * 3
    node = str(found[0]["node"])
    assert lab.dslice("orphan", "free", node, "later", "--reason", "made since").must().successes == [node]
    assert "no orphan on" in lab.dslice("orphan", "free", node, "--reason", "again").must(FAILED).err
    _freed_by_a_button(lab, str(found[1]["node"]))
    lab.dslice("orphan", "free", "--all", "--reason", "made since").must()
    assert "0 orphans" in lab.dslice("orphans").must().err
    lab.svm("createslice", "later.xml").must()


def _freed_by_a_button(lab: Lab, node: str) -> None:
    """As `dslice web` has it: the page of orphans, and that of the order."""
    with served(lab, "dslice", "web") as web:
        web.enter()
        assert web.ask("POST", "/orphans/look", "").status == 303
        until(lambda: node in [each["node"] for each in web.data("/orphans")["orphans"]])
        assert node in web.ask("GET", "/orphans").text
        ordered = web.ask("POST", "/orphans/free", f"node={node}&slice=later&reason=made+since")
        until(lambda: web.data(ordered.headers["location"])["nodes"] == {node: True})


def test_what_was_deleted_since_is_named_and_deleteslice_ends_it(lab: Lab) -> None:
    until(lambda: "slice deleted" in lab.svm("doctor").out and "no longer has its VM" in lab.svm("doctor").out)
    lab.svm("deleteslice", "deleted").must()


def test_keys_and_leases_are_mended_and_what_was_kept_is_as_it_was(lab: Lab) -> None:
    until(lambda: lab.svm("doctor").status == DONE)
    said = lab.svm("status", "keyed").must().out
    assert "early" in said
    assert "late" not in said
    for name in ("kept", "renewed", "keyed", "later"):
        lab.svm("renewslice", name).must()
    assert PI in lab.dslice("usage").must().out
    for name in ("kept", "renewed", "keyed", "later"):
        lab.svm("deleteslice", name).must()
    assert rows(lab.dslice("slices", "--json")) == []
