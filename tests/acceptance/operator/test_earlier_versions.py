"""Nodes, workers and clients of earlier versions beside plc, agent and svmd of this one; their code is out of the git
history. docs/operating.md, "New versions", says in which order all of them follow."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from alembic import command

from models.database import config, engine, migrate
from testbed.daemons import Layout
from testbed.embedded import Postgres, Valkey
from testbed.home import Home
from tests.acceptance.lab import DONE, FAILED, SOME_FAILED, Lab, first_line, until
from tests.integration.upgrades.make import ROOT, code_of

# Before slices had needs, VMs could be stopped and nodes heard of their operator; and the last one before this.
BEFORE_ORDERS, LAST = "93be364", "feb8006"
LASTS_TABLES = "svm_0009"
NODES = {BEFORE_ORDERS: "e1", LAST: "e2"}


def has(commit: str) -> bool:
    git = shutil.which("git")
    asked = [str(git), "-C", str(ROOT), "cat-file", "-e", commit]
    return git is not None and subprocess.run(asked, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not all(map(has, NODES)), reason="the git history is not here")


@pytest.fixture(scope="module")
def earlier() -> Iterator[dict[str, Path]]:
    """The code of each, by commit."""
    with ExitStack() as stack:
        yield {commit: stack.enter_context(code_of(commit)) for commit in NODES}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("earlier"))
    made.up(real=0, simulated=2, DSLICE_STOPS_SECONDS="1", DSLICE_RECONCILE_SECONDS="3")
    try:
        yield made
    finally:
        made.down()


def program(code: Path, module: str) -> list[str]:
    """A program's command line, as the earlier version has it."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(code)!r}); import {module} as m; m.main()"]


@contextmanager
def daemon(code: Path, role: str, env: dict[str, str], log: Path) -> Iterator[None]:
    """One of an earlier version at work."""
    argv, own = [*program(code, "admin.main"), "run", role], {"PATH": os.environ["PATH"], **env}
    with (
        log.open("a") as said,
        subprocess.Popen(argv, env=own, cwd=log.parent, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        try:
            assert first_line(process).startswith("ready "), log.read_text()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def address(lab: Lab, commit: str) -> str:
    return f"{lab.simulated[0].rpartition('.')[0]}.{200 + list(NODES).index(commit)}"


@pytest.fixture(scope="module")
def nodes(lab: Lab, earlier: dict[str, Path]) -> Iterator[dict[str, str]]:
    """A node of each earlier version: its address by its commit."""
    plc = dict(re.findall(r"^export (DSLICE_\w+)=(\S+)$", lab.dslice("env").must().out, re.MULTILINE))["DSLICE_PLC_URL"]
    with ExitStack() as stack:
        found = {commit: address(lab, commit) for commit in NODES}
        for commit, where in found.items():
            settings = {
                "DSLICE_NAME": NODES[commit],
                "DSLICE_NODE_ADDRESS": where,
                "DSLICE_PLC_URL": plc,
                "DSLICE_STATE_DIR": str(lab.folder / NODES[commit]),
                "DSLICE_AGENTS": "dslice.planet-lab.org",
                "DSLICE_SLIVER_DRIVER": "simulated",
                "DSLICE_STOPS_SECONDS": "1",
                "DSLICE_ADVERTISE_SECONDS": "1",
                "DSLICE_ENROLL_TOKEN": lab.dslice("plc", "token", "node", NODES[commit], where).must().out.split()[-1],
            }
            log = lab.folder / f"{NODES[commit]}.log"
            stack.enter_context(daemon(earlier[commit], "nodemgr", settings, log))
        until(lambda: set(found.values()) <= set(lab.svm("getads").must().lines))
        yield found


def worker(lab: Lab) -> dict[str, str]:
    """The settings of the testbed's own worker."""
    home = Home(lab.home)
    layout = Layout(home, home.plan(), Postgres(home.service("database")), Valkey(home.service("broker")))
    (found,) = [spec for spec in layout.others() if spec.name == "worker1"]
    return dict(found.env)


def test_nodes_of_earlier_versions_hold_slivers(lab: Lab, nodes: dict[str, str]) -> None:
    every = [*nodes.values(), lab.simulated[0]]
    assert sorted(lab.create("alpha", every).must().successes) == sorted(every)
    key = f"{lab.key('alpha-key')}.pub"
    assert len(lab.svm("addkey", "alpha", key).must().successes) == 3
    assert len(lab.svm("renewslice", "alpha").must().successes) == 3
    assert len(lab.svm("rekey", "alpha").must().successes) == 3
    assert lab.svm("status", "alpha").must().out.count("running") >= 3
    assert "BAD" not in lab.svm("doctor").out
    assert len(lab.svm("deleteslice", "alpha").must().successes) == 3


def test_what_they_do_not_know_yet_is_refused_by_each_in_its_line(lab: Lab, nodes: dict[str, str]) -> None:
    lab.create("beta", [*nodes.values(), lab.simulated[0]]).must()
    stopped = lab.svm("stop", "beta").must(SOME_FAILED)
    assert list(stopped.errors) == [nodes[BEFORE_ORDERS]]
    assert sorted(stopped.successes) == sorted([nodes[LAST], lab.simulated[0]])
    lab.svm("start", "beta", nodes[LAST], lab.simulated[0]).must()
    lab.svm("deleteslice", "beta").must()


def test_the_operator_sees_and_drains_them(lab: Lab, nodes: dict[str, str]) -> None:
    """Agents leave a drained node out, whether it has heard of that or not."""
    assert "4 of 4 nodes are up" in lab.dslice("nodes").must().err
    for name in NODES.values():
        lab.dslice("node", "drain", name, "--replace", "--reason", "an earlier version").must()
    named = lab.slice_file("gamma", 3)
    until(lambda: lab.svm("createslice", "--dry-run", named).status != DONE)
    assert "drained: " in lab.svm("createslice", named).must(FAILED).err
    for name in NODES.values():
        lab.dslice("node", "undrain", name).must()
    until(lambda: lab.svm("createslice", "--dry-run", lab.slice_file("four", 4)).status == DONE)


def test_a_client_of_an_earlier_version_goes_on(lab: Lab, earlier: dict[str, Path], nodes: dict[str, str]) -> None:
    for commit, code in earlier.items():
        name = f"delta{NODES[commit]}"
        svm = program(code, "svm.main")
        made = lab.run(*svm, "createslice", lab.slice_file(name, 2, [lab.simulated[0], nodes[commit]])).must()
        assert len(made.successes) == 2
        assert name in lab.run(*svm, "slices").must().out
        lab.run(*svm, "renewslice", name).must()
        lab.run(*svm, "deleteslice", name).must()


def test_svmd_of_this_version_waits_until_workers_of_an_earlier_one_are_gone(
    lab: Lab, earlier: dict[str, Path]
) -> None:
    """As if only svmd were new: its tables are those of the last version, and a worker of that is at work."""
    for name in ("beat", "worker1", "svmd"):
        lab.dslice("stop", name).must()
    settings = worker(lab)
    url = settings["DSLICE_DATABASE_URL"]
    database = engine(url, connections=1)
    with database.begin() as connection:
        command.downgrade(config("svm", connection), LASTS_TABLES)
    database.dispose()
    try:
        with daemon(earlier[LAST], "worker", settings, lab.folder / "worker.log"):
            refused = lab.dslice("start", "svmd").must(FAILED)
            assert "1 worker of an earlier version still runs: stop it, then start svmd" in refused.err
            lab.dslice("stop", "svmd")
        for name in ("svmd", "worker1", "beat"):
            lab.dslice("start", name).must()
        lab.create("epsilon", lab.simulated).must()
        lab.svm("deleteslice", "epsilon").must()
    finally:
        migrate(url, "svm")
