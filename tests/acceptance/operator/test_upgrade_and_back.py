"""docs/operating.md, "New versions": a testbed of the last version, started by this one, and put back again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.home import Home, Plan
from tests.acceptance.lab import FAILED, Lab, Ran, until
from tests.acceptance.operator.test_earlier_versions import LAST, daemon, has, program
from tests.integration.upgrades.make import ROOT, code_of
from tests.networks import network

pytestmark = pytest.mark.skipif(not has(LAST), reason="the git history is not here")

DAEMONS = ("beat", "worker1", "svmd", "agent", "plc")
UP = ("up", "--detach", "--nodes", "0", "--simulated", "2")


@pytest.fixture(scope="module")
def before() -> Iterator[Path]:
    """The code of the last version."""
    with code_of(LAST) as code:
        yield code


@pytest.fixture(scope="module")
def lab(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Of the last version, with a slice and a backup."""
    made = Lab(tmp_path_factory.mktemp("upgrade"))
    made.prepare()
    with network() as number:
        Home(made.home).make()
        Home(made.home).keep_plan(Plan(network=number))
        yield from used(made, before)


def used(made: Lab, before: Path) -> Iterator[Lab]:
    try:
        was(made, before, *UP).must()
        made.svm("createslice", made.slice_file("kept", 2)).must()
        made.svm("addkey", "kept", f"{made.key('kept-key')}.pub").must()
        was(made, before, "backup", "saved").must()
        was(made, before, "down").must()
        yield made
    finally:
        made.dslice("down")


def was(lab: Lab, code: Path, *words: str) -> Ran:
    """`dslice` of the last version."""
    return lab.run(*program(code, "admin.main"), *words)


def test_this_version_goes_on_with_what_the_last_one_had(lab: Lab) -> None:
    lab.dslice(*UP).must()
    assert "2 of 2 running" in lab.svm("slices").must().out
    assert len(lab.svm("renewslice", "kept").must().successes) == 2
    lab.svm("createslice", lab.slice_file("new", 2)).must()
    assert "BAD" not in lab.svm("doctor").out


def test_the_last_version_says_that_it_cannot(lab: Lab, before: Path) -> None:
    lab.dslice("down").must()
    refused = was(lab, before, *UP).must(FAILED)
    assert "was made by a newer version of dslice" in refused.err
    assert "Traceback" not in refused.err


def test_a_backup_made_before_leads_back(lab: Lab, before: Path) -> None:
    lab.dslice(*UP).must()
    for name in DAEMONS:
        lab.dslice("stop", name).must()
    lab.dslice("restore", "saved").must()
    lab.dslice("down").must()
    was(lab, before, *UP).must()
    assert "kept" in lab.svm("slices").must().out
    assert len(lab.svm("renewslice", "kept").must().successes) == 2
    assert "new" in was(lab, before, "orphans").out
    lab.svm("deleteslice", "kept").must()


def test_a_node_of_this_version_works_beside_the_last(lab: Lab, before: Path) -> None:
    """Nodes may stay newer."""
    told = was(lab, before, "env").must().out
    plc = dict(re.findall(r"^export (DSLICE_\w+)=(\S+)$", told, re.MULTILINE))["DSLICE_PLC_URL"]
    known = set(lab.svm("getads").must().lines)
    address = f"{min(known).rpartition('.')[0]}.200"
    settings = {
        "DSLICE_NAME": "newer",
        "DSLICE_NODE_ADDRESS": address,
        "DSLICE_PLC_URL": plc,
        "DSLICE_STATE_DIR": str(lab.folder / "newer"),
        "DSLICE_AGENTS": "dslice.planet-lab.org",
        "DSLICE_SLIVER_DRIVER": "simulated",
        "DSLICE_ADVERTISE_SECONDS": "1",
        "DSLICE_ENROLL_TOKEN": was(lab, before, "plc", "token", "node", "newer", address).must().out.split()[-1],
    }
    with daemon(ROOT, "nodemgr", settings, lab.folder / "newer.log"):
        until(lambda: address in lab.svm("getads").must().lines)
        assert lab.create("beside", [address, min(known)]).must().successes
        assert len(lab.svm("renewslice", "beside").must().successes) == 2
        lab.svm("deleteslice", "beside").must()
