"""Decisions that need no process: when to start again, what a place is, what stands on the screen."""

from dataclasses import replace
from pathlib import Path

import pytest

from admin import tokens
from nodemgr.slivers.inside.folder import SliverFolder
from nodemgr.slivers.process.processes import Process
from svm.checks import Check
from testbed import leftovers
from testbed.faults import inject
from testbed.home import ACCOUNTS, Home, HomeError, Plan
from testbed.shell import process_table, settings
from testbed.supervisor import delay_before_restart, last_line
from trust.errors import Code, Refusal


def test_a_daemon_that_dies_again_and_again_waits_longer_each_time() -> None:
    assert [round(delay_before_restart(deaths), 1) for deaths in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert delay_before_restart(50) == 10.0


@pytest.mark.parametrize(
    "word", ["", "node", "node=n1", "user=n1@127.0.0.1", "plc=plc@127.0.0.1", "node=N1@x", "node=n1@", "node=n 1@x"]
)
def test_a_word_that_is_no_place_is_refused_before_anything_is_opened(word: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is not ROLE=NAME@ADDRESS") as refused:
        tokens.write(tmp_path, [word])
    assert refused.value.code is Code.BAD_INPUT
    assert list(tmp_path.iterdir()) == []


def test_the_last_thing_that_a_daemon_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == "it said nothing"
    log.write_text("first\nlast\n\n")
    assert last_line(log) == "last"
    log.write_text("x" * 1000)
    assert len(last_line(log)) == 300


def test_the_table_of_processes_fits_80_columns() -> None:
    row = {"name": "worker64", "role": "nodemgr", "pid": 4_194_304, "state": "starting", "address": "127.0.0.1:30999"}
    rows = [{**row, "nodes": []}, {**row, "pid": None, "nodes": ["127.254.250.249", "127.254.250.250"]}]
    lines = list(process_table(rows))
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].split()[2] == "-"


def test_the_environment_of_a_user(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(HomeError, match="has not been up yet"):
        settings(home, ACCOUNTS[0])
    with pytest.raises(HomeError, match="no account root here"):
        settings(home, "root")


def test_a_fault_needs_simulated_nodes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.keep_plan(Plan(nodes=2, network=1))
    for node in ("all", "n1", "127.0.1.1"):
        with pytest.raises(HomeError, match="is not a simulated node of this testbed"):
            inject(home, node, "refuse")


def test_only_the_keeper_itself_is_ended_never_who_has_its_pid_now(tmp_path: Path) -> None:
    import subprocess

    home = Home(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as keeper, subprocess.Popen(["sleep", "60"]) as stranger:
        for name, process in (("ours", Process.of(keeper.pid)), ("other", Process.of(stranger.pid))):
            (home.service("n1") / "slivers" / name).mkdir(parents=True)
            record = process if name == "ours" else replace(process, start_time=process.start_time - 1)
            SliverFolder(home.service("n1") / "slivers", name).write_keeper(record)
        assert leftovers.running(home) == ["n1/ours"]
        assert leftovers.end(home) == 1
        assert keeper.wait(10) == -9
        assert stranger.poll() is None
        stranger.kill()


def test_what_lies_in_a_slivers_home_is_no_record(tmp_path: Path) -> None:
    """A sliver's user may write any keeper.json there."""
    home = Home(tmp_path)
    planted = home.service("n1") / "slivers" / "slice" / "home"
    planted.mkdir(parents=True)
    (planted / "keeper.json").write_text('{"pid": 1, "start_time": 1, "boot_id": "x"}')
    assert leftovers.slivers(home) == []


def test_findings() -> None:
    assert Check(True, "fine").line() == "ok   fine"
    assert Check(False, "ssh", "apt-get install it").line() == "BAD  ssh: apt-get install it"
