"""addkey and delkey of a file with several keys: one operation, all of them or none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.integration.frontdoor.device import Device
from tests.integration.svm.conftest import Svm
from trust.securitykeys import ED25519
from trust.sshkeys import new_ssh_key_pair

ONE, TWO = (new_ssh_key_pair(name)[1] for name in ("one", "two"))
DEVICE = Device(ED25519).line


def kept(database: Engine) -> set[str]:
    """The keys that svmd has."""
    with database.connect() as connection:
        return set(connection.scalars(text("SELECT line FROM svm.slice_key")))


def test_a_groups_file_is_one_operation(
    svm: Svm, demo: Path, database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = tmp_path / "authorized_keys"
    group.write_text(f"# the group\n\n{ONE}\n{DEVICE}\n\n{TWO}\n")
    svm("createslice", demo)
    capsys.readouterr()
    assert svm("addkey", "demo", group) == 0
    assert capsys.readouterr().out.count("Success on") == 3  # a line a node, not a line a key
    assert kept(database) == {ONE, TWO, DEVICE}
    group.write_text(f"{ONE}\n{DEVICE}\n")
    assert svm("delkey", "demo", group) == 0
    assert kept(database) == {TWO}


def test_one_bad_key_adds_none(svm: Svm, demo: Path, database: Engine, tmp_path: Path) -> None:
    group = tmp_path / "authorized_keys"
    group.write_text(f'{ONE}\ncommand="date" {TWO}\n')
    svm("createslice", demo)
    assert svm("addkey", "demo", group) == 2
    assert kept(database) == set()


def test_keys_through_a_pipe_as_in_the_howto(svm: Svm, demo: Path, database: Engine, home: Path) -> None:
    """`svm addkey S <(pluserinfo --key EMAIL)`, of somebody with two keys."""
    svm("createslice", demo)
    script = 'exec "$0" -c "from svm.main import main; main()" addkey demo <(printf "%s\\n" "$1" "$2")'
    shell = ["bash", "-c", script, sys.executable, ONE, TWO]
    done = subprocess.run(shell, capture_output=True, env=os.environ | {"PLANETLAB_HOME": str(home)}, timeout=60)
    assert (done.returncode, kept(database)) == (0, {ONE, TWO}), done.stderr
