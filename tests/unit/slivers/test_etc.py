"""The files that the node manager writes for a sliver."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import pytest

from nodemgr.slivers.inside import etc
from nodemgr.slivers.inside.etc import Names, ssh_config, write_etc, write_slice_key
from nodemgr.slivers.inside.folder import Record, SliverFolder
from nodemgr.slivers.process.processes import Process
from trust.errors import Refusal


def test_the_login_of_uid_0_is_the_slice(tmp_path: Path) -> None:
    write_etc(tmp_path / "etc", Names("ocean_1", "ocean_1-n1"))
    passwd = (tmp_path / "etc/passwd").read_text().splitlines()
    assert passwd[0].split(":")[:4] == ["ocean_1", "x", "0", "0"]
    assert passwd[0].split(":")[5] == "/home/ocean_1"
    assert (tmp_path / "etc/hostname").read_text() == "ocean-1-n1\n"


def test_nothing_secret_of_the_host_is_copied(tmp_path: Path) -> None:
    write_etc(tmp_path / "etc", Names("ocean", "n1"))
    names = {str(path.relative_to(tmp_path / "etc")) for path in (tmp_path / "etc").rglob("*") if path.is_file()}
    assert names & {"shadow", "gshadow", "sudoers", "environment"} == set()


def test_everything_can_be_read_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_etc(tmp_path / "etc", Names("ocean", "n1"))
    finally:
        os.umask(before)
    assert (tmp_path / "etc/hosts").readlink() == Path("ssh/hosts")
    (tmp_path / "etc/hosts").unlink()
    for path in (tmp_path / "etc", *(tmp_path / "etc").rglob("*")):
        assert path.stat().st_mode & 0o044 == 0o044, path


def test_the_slice_key_is_its_owners_alone(tmp_path: Path) -> None:
    write_etc(tmp_path / "etc", Names("ocean", "n1"))
    write_slice_key(tmp_path / "etc", "PRIVATE", "public", None)
    assert (tmp_path / "etc/slice/ssh_key").stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "etc/slice/ssh_key").read_text() == "PRIVATE\n"


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    write_etc(tmp_path, Names("ocean", "n1"))
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "passwd").write_bytes(b"torn")
    write_etc(tmp_path, Names("ocean", "n1"))
    after = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before[path]} == {"passwd"}
    assert (tmp_path / "passwd").read_text().startswith("ocean:")


def test_ssh_config_ends_with_the_slices_key() -> None:
    text = ssh_config("Host a\n    Port 2222\n")
    assert text.startswith("Host a\n    Port 2222\n")
    assert "Match all\n    IdentityFile /etc/slice/ssh_key" in text


def test_the_interpreter_is_shown_only_where_the_host_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/usr/bin/python3")
    assert etc.python_folder() is None
    assert etc.sftp_command().startswith("/usr/bin/python3 -I -S ")
    monkeypatch.setattr(os.path, "exists", lambda _path: False)
    monkeypatch.setattr(sys, "base_prefix", "/home/me/python")
    assert etc.python_folder() == Path("/home/me/python")
    assert etc.sftp_command().startswith("/opt/python/bin/python3.")
    monkeypatch.setattr(sys, "base_prefix", "/usr/local")
    assert etc.python_folder() is None
    assert etc.sftp_command().startswith("/usr/local/bin/python3.")


def test_openssh_s_own_server_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda _path: True)
    assert etc.sftp_command() == "/usr/lib/openssh/sftp-server"
    assert etc.python_folder() is None


def test_records_come_back(tmp_path: Path) -> None:
    folder = SliverFolder(tmp_path, "ocean")
    assert folder.record() is None
    assert folder.keeper() is None
    folder.make(None)
    record = Record("ocean", uuid.uuid4(), "n1", 64, 10, None)
    folder.write(record)
    assert folder.record() == record
    folder.write_keeper(Process(1, 2, "boot"))
    assert folder.keeper() == Process(1, 2, "boot")
    folder.write_keeper(None)
    assert folder.keeper() is None
    folder.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "root", ".ssh", "A", ""])
def test_no_other_name_becomes_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal):
        SliverFolder(tmp_path, name)


def test_a_process_of_another_boot_is_not_alive() -> None:
    now = Process.of(os.getpid())
    assert now.alive
    assert not Process(now.pid, now.start_time, "another boot").alive
    assert not Process(now.pid, now.start_time + 1, now.boot_id).alive
    Process(now.pid, now.start_time + 1, now.boot_id).kill()  # a stranger with our number: not touched
    with pytest.raises(Refusal):
        Process.of(2**22 + 1)


def test_a_machine_id_is_drawn_once_and_again_when_it_is_damaged(tmp_path: Path) -> None:
    drawn = etc.machine_id(tmp_path)
    assert len(drawn) == 32
    assert etc.machine_id(tmp_path) == drawn
    assert (tmp_path / "machine-id").read_text() == f"{drawn}\n"
    (tmp_path / "other").mkdir()
    assert etc.machine_id(tmp_path / "other") != drawn
    (tmp_path / "machine-id").write_bytes(b"\xfftorn")
    assert etc.machine_id(tmp_path) not in ("", drawn)
