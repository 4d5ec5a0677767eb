"""The testbed's own programs: dslice up, ps, env, stop, start, mail, doctor, down, demo."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.lab import BIN, FAILED, NEWCOMER, PI, REAL, SIMULATED, USAGE, Lab, is_running, until

ROLES = {"database", "broker", "plc", "agent", "svmd", "worker", "beat", "flower", "nodemgr"}


def test_ps_lists_every_process_with_its_role_and_address(lab: Lab) -> None:
    rows = lab.ps()
    assert {row["role"] for row in rows} == ROLES
    assert all(row.keys() == {"name", "role", "pid", "address", "nodes"} for row in rows)
    assert all(is_running(row["pid"]) for row in rows)
    assert len([node for row in rows for node in row["nodes"]]) == REAL + SIMULATED


def test_ps_fits_a_terminal_of_80_columns(lab: Lab) -> None:
    assert all(len(line) <= 80 for line in lab.dslice("ps").must().lines)


def test_env_makes_a_shell_that_just_works(lab: Lab) -> None:
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(lab.folder / "user")}
    script = f'eval "$({BIN}/dslice env --home {lab.home})"; svm getads; echo $PLANETLAB_HOME'
    shell = subprocess.run(["bash", "-c", script], env=bare, capture_output=True, text=True)
    assert shell.returncode == 0, shell.stderr
    *nodes, planetlab_home = shell.stdout.split()
    assert len(nodes) == REAL + SIMULATED
    assert planetlab_home.endswith(PI)
    assert NEWCOMER in lab.dslice("env", "--as", NEWCOMER).must().out
    assert "no account x@y here" in lab.dslice("env", "--as", "x@y").must(FAILED).err


def test_stop_and_start(lab: Lab) -> None:
    lab.dslice("stop", "sim1").must()
    pid = next(row["pid"] for row in lab.ps() if row["name"] == "sim1")
    assert pid is None
    lab.dslice("start", "sim1").must()
    running = next(row["pid"] for row in lab.ps() if row["name"] == "sim1")
    lab.dslice("restart", "sim1").must()
    assert next(row["pid"] for row in lab.ps() if row["name"] == "sim1") not in (None, running)
    assert "there are database, broker" in lab.dslice("stop", "nobody").must(FAILED).err


def test_logs(lab: Lab) -> None:
    everything = lab.dslice("logs").must().out
    assert {"plc", "agent", "svmd", "worker1"} <= {line[9:19].strip() for line in everything.splitlines()}
    assert all("svmd" in line[9:19] for line in lab.dslice("logs", "svmd").must().out.splitlines() if line[:1] != " ")
    assert "no log of nobody here" in lab.dslice("logs", "nobody").must(FAILED).err


def test_what_dies_is_started_again(lab: Lab) -> None:
    before = next(row["pid"] for row in lab.ps() if row["name"] == "flower")
    os.kill(before, signal.SIGKILL)
    until(lambda: next(row["pid"] for row in lab.ps() if row["name"] == "flower") not in (None, before))


def test_faults_are_for_simulated_nodes_that_are_there(lab: Lab) -> None:
    assert "not a simulated node" in lab.dslice("fault", lab.real[0], "refuse").must(FAILED).err
    assert lab.dslice("fault", lab.simulated[0], "dance").must(FAILED).err.count("\n") == 1


def test_a_second_up_in_the_same_home_is_refused_in_one_line(lab: Lab) -> None:
    for words in (("up", "--detach"), ("up",)):
        refused = lab.dslice(*words).must(FAILED)
        assert "is up already" in refused.err
        assert refused.err.count("\n") == 1


def test_run_knows_its_roles(lab: Lab) -> None:
    assert "none of plc, agent, nodemgr" in lab.dslice("run", "everything").must(USAGE).err


def test_secrets_are_nobody_elses(lab: Lab) -> None:
    """Every file that the testbed wrote lies in a folder that only its owner may enter."""
    assert lab.home.stat().st_mode & 0o077 == 0
    text = (lab.home / "logs").rglob("*")
    password = lab.dslice("password", PI).must().out.strip()
    flower = (lab.home / "secrets/flower").read_text()
    for path in text:
        said = path.read_text(errors="replace")
        assert password not in said, path
        assert flower not in said, path
        assert "PRIVATE KEY" not in said, path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A shell with a HOME that must stay empty, for a second testbed on this machine."""
    home = tmp_path / "user"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSLICE_", "PLANETLAB_", "SSH_"))}
    yield {**kept, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "DSLICE_HOME": str(tmp_path / "second")}
    assert list(home.iterdir()) == []
    subprocess.run(
        ["dslice", "down", "--home", str(tmp_path / "second")],
        env=kept | {"PATH": f"{BIN}:{kept['PATH']}"},
        capture_output=True,
    )


def test_ctrl_c_in_the_foreground_ends_all_of_it(lab: Lab, elsewhere: dict[str, str], tmp_path: Path) -> None:
    """A second testbed beside the first, with addresses of its own."""
    with subprocess.Popen(
        ["dslice", "up", "--nodes", "0", "--simulated", "2"],
        env=elsewhere,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as up:
        assert up.stderr
        said = up.stderr.readline()
        assert said.startswith("PlanetLab is up in "), said + up.stderr.read()
        flower = next(line for line in up.stderr if line.startswith("Flower: "))
        password = subprocess.run(
            ["dslice", "password", "flower"], env=elsewhere, capture_output=True, text=True
        ).stdout
        place = re.search(r"http://[^\s,]+", flower)
        assert place
        headers = {"Authorization": "Basic " + b64encode(f"flower:{password.strip()}".encode()).decode()}
        asked = urllib.request.Request(f"{place[0]}/workers", headers=headers)  # noqa: S310 - http, as just said
        with urllib.request.urlopen(asked, timeout=20) as page:  # noqa: S310
            assert page.status == 200
        ps = subprocess.run(["dslice", "ps", "--json"], env=elsewhere, capture_output=True, text=True)
        rows = json.loads(ps.stdout)
        assert not {node for row in rows for node in row["nodes"]} & set(lab.simulated)
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    assert not [row for row in rows if is_running(row["pid"])]


@pytest.mark.skipif(not (shutil.which("ssh") and shutil.which("scp")), reason="needs openssh-client")
def test_the_demo_tells_its_story_and_leaves_nothing(elsewhere: dict[str, str], tmp_path: Path) -> None:
    told = subprocess.run(
        ["dslice", "demo", "--nodes", "2"], env=elsewhere, cwd=tmp_path, capture_output=True, text=True, timeout=170
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert [line for line in told.stdout.splitlines() if len(line) > 80] == []
    assert told.stdout.count("Success on ") == 3 * 2
    assert "Nothing runs any more" in told.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["user"]


def test_a_demo_that_fails_says_so_and_ends_what_it_began(elsewhere: dict[str, str], tmp_path: Path) -> None:
    """Here ssh-keygen is broken on this machine."""
    broken = tmp_path / "bin" / "ssh-keygen"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 9\n")
    broken.chmod(0o755)
    env = {**elsewhere, "PATH": f"{broken.parent}:{elsewhere['PATH']}"}
    told = subprocess.run(["dslice", "demo", "--nodes", "2"], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 1
    assert "The demo failed: expected exit status 0, got 9. Logs: " in told.stdout
    assert "$ dslice down" in told.stdout
    assert (tmp_path / "second" / "logs").is_dir()
    assert subprocess.run(["dslice", "ps"], env=elsewhere, capture_output=True).returncode == 1


def test_a_folder_that_is_none_of_ours_is_left_alone(elsewhere: dict[str, str], tmp_path: Path) -> None:
    theirs = tmp_path / "photos"
    theirs.mkdir()
    (theirs / "holiday.jpg").touch()
    for folder, reason in ((theirs, "is not a testbed's folder"), (Path("/proc/nowhere"), "cannot use /proc/nowhere")):
        argv = ["dslice", "demo", "--home", str(folder)]
        refused = subprocess.run(argv, env=elsewhere, cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 1
        assert reason in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert (theirs / "holiday.jpg").exists()


def test_the_first_account_has_all_that_pluserinfo_shows(lab: Lab) -> None:
    shown = dict(line.split(": ", 1) for line in lab.run("pluserinfo", PI).must().lines if ": " in line)
    assert {"NAME", "TITLE", "ADDRESS", "CITY", "STATE", "ZIP", "COUNTRY", "PHONE", "SSH_PUBKEY"} <= shown.keys()
    key = lab.home / "users" / PI / "id_ed25519"
    assert key.with_suffix(".pub").read_text().strip() == shown["SSH_PUBKEY"]
    lab.run("ssh-keygen", "-y", "-f", str(key)).must()
