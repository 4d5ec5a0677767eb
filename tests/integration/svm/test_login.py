"""ssh and run with the real OpenSSH client. (Logins that succeed are acceptance tests: they need real slivers.)

The nodes of these slices are nowhere, or somebody else's front doors, whose host keys are not the pinned ones.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.svm.conftest import Lab, Running, slice_file, svm_process

SSH_FAILED = 255


@pytest.fixture
def home(svmd: Running, lab: Lab, tmp_path: Path) -> Path:
    """The key directory of a PI whose slice demo runs on two nodes."""
    found = svmd.home(lab.user())
    assert ended(found, "createslice", str(slice_file(tmp_path / "demo.xml", 2)))[0] == 0
    return found


def ended(home: Path, *words: str) -> tuple[int, str, str]:
    child = svm_process(home, *words)
    out, err = child.communicate()
    return child.returncode, out, err


def test_ssh_becomes_the_real_client_and_pins_the_host_key(home: Path) -> None:
    status, out, err = ended(home, "ssh", "-T", "demo", "n2", "-o", "LogLevel=INFO", "hostname")
    assert (status, out) == (SSH_FAILED, "")
    assert "127.0.1.2" in err
    (home / "slices" / "demo" / "known_hosts").read_text().index("127.0.1.2 ssh-ed25519")


def test_ssh_without_svmd_uses_what_it_said_last(home: Path) -> None:
    place = json.loads((home / "directory.json").read_text())
    (home / "directory.json").write_text(json.dumps({**place, "svmd": "https://127.0.0.1:9"}))
    status, _, err = ended(home, "ssh", "demo", "127.0.1.1", "true")
    assert status == SSH_FAILED
    assert "using what svmd said last" in err
    (home / "directory.json").write_text(json.dumps({**place, "svmd": "https://127.0.0.1:9"}))
    status, _, err = ended(home, "ssh", "demo", "127.0.1.9", "true")
    assert status == 5
    assert err.count("\n") == 1


def test_no_ssh_on_this_machine(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, err = ended(home, "ssh", "demo", "127.0.1.1")
    assert status == 1
    assert err == "svm: no ssh on this machine; install the OpenSSH client\n"
    status, _, err = ended(home, "run", "demo", "true")
    assert status == 1
    assert err == "svm: no ssh on this machine; install the OpenSSH client\n"


def test_run_groups_and_counts(home: Path) -> None:
    status, out, err = ended(home, "run", "demo", "--", "true")
    assert status == 1
    assert "== 127.0.1.1" in out
    assert err == "0 ok · 2 failed: 2 ssh failed\n"
    status, out, _ = ended(home, "--json", "run", "demo", "true")
    found = [json.loads(line) for line in out.splitlines()]
    assert [each["type"] for each in found] == ["row", "row", "summary"]
    assert (status, found[0]["status"], found[-1]["failed"]) == (1, SSH_FAILED, 2)


def test_run_where_nothing_runs(svmd: Running, lab: Lab, tmp_path: Path) -> None:
    home = svmd.home(lab.user())
    assert ended(home, "newtickets", str(slice_file(tmp_path / "demo.xml", 2)))[0] == 0
    status, _, err = ended(home, "run", "demo", "true")
    assert status == 1
    assert "no running VM" in err


def test_renewals_show_old_and_new_on_a_terminal(home: Path) -> None:
    ours, theirs = os.openpty()
    argv = ["svm", "renewslice", "demo"]
    code = f"import sys; sys.argv = {argv!r}; from svm.main import main; main()"
    environment = {**os.environ, "PLANETLAB_HOME": str(home)}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=subprocess.PIPE, env=environment)
    child.communicate()
    os.close(theirs)
    said = os.read(ours, 65_536).decode()
    os.close(ours)
    assert child.returncode == 0
    assert said.count(" UTC → ") == 2
