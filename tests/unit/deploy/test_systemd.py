"""Units, users and folders of a lab, by systemd's own programs where the machine has them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from admin.roles import MAINS
from admin.variables import KNOWN

FOLDER = Path(__file__).parents[3] / "deploy/systemd"
UNITS = sorted(FOLDER.glob("*.service"))
NODE = {"dslice-nodemgr.service", "dslice-slivers.service"}
LAB = [unit for unit in UNITS if unit.name not in NODE]
HELD = 20  # tenths of the exposure that `systemd-analyze security` may find in a role that needs no rights
# What would reach the slivers, which inherit it: mounts of systemd's, filters, no new privileges.
NEVER = (
    "NoNewPrivileges",
    "Private",
    "Protect",
    "ReadOnly",
    "ReadWrite",
    "Inaccessible",
    "RestrictNamespaces",
    "RestrictSUIDSGID",
    "RootDirectory",
    "SystemCallFilter",
    "DynamicUser",
    "MemoryDenyWriteExecute",
    "LockPersonality",
)


def settings(unit: Path) -> list[tuple[str, str]]:
    lines = unit.read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return [(name, value) for name, _, value in pairs]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program} (Debian's package systemd)")


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_it_without_a_word(unit: Path, tmp_path: Path) -> None:
    """With a program in the place of ours, which need not be installed here."""
    for each in UNITS:
        text = re.sub(r"(?<=[=+-])/(opt|usr/lib)/dslice/\S+", "/bin/true", each.read_text())
        (tmp_path / each.name).write_text(text)
    instance = unit.name.replace("@", "@1")
    read = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / instance)], capture_output=True, text=True
    )
    ours = [line for line in read.stderr.splitlines() if "dslice" in line]
    assert (read.returncode, ours) == (0, [])


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", LAB, ids=lambda unit: unit.name)
def test_a_role_of_the_lab_can_do_little(unit: Path) -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={HELD}", str(unit)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_PAGER": ""},
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("unit", LAB, ids=lambda unit: unit.name)
def test_all_roles_are_held_alike(unit: Path) -> None:
    assert unit.read_text().partition("# What it may do")[2] == LAB[0].read_text().partition("# What it may do")[2]


def test_every_role_has_a_unit_and_starts_by_its_name() -> None:
    started = [value for unit in UNITS for name, value in settings(unit) if name == "ExecStart"]
    roles = {found[1] for line in started if (found := re.search(r"dslice run (\w+)$", line))}
    assert roles == MAINS.keys()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_users_folders_and_variables_are_there(unit: Path) -> None:
    told = settings(unit)
    users = re.findall(r"^u (\S+)", (FOLDER / "sysusers.conf").read_text(), re.MULTILINE)
    kept = (FOLDER / "tmpfiles.conf").read_text()
    for value in (value for name, value in told if name == "User"):
        assert value in users
    variables = dict(value.split("=", 1) for name, value in told if name == "Environment")
    assert variables.keys() <= KNOWN
    if "DSLICE_CONFIG" in variables:
        reader = next((value for name, value in told if name == "User"), "root")
        assert re.search(rf"^z {variables['DSLICE_CONFIG']} +06.0 root {reader} ", kept, re.MULTILINE)
    if "DSLICE_STATE_DIR" in variables:
        assert variables["DSLICE_STATE_DIR"] == f"/var/lib/{dict(told)['StateDirectory']}"
        assert dict(told)["StateDirectoryMode"] == "0700"


def test_a_restart_of_the_node_manager_ends_no_sliver() -> None:
    told = settings(FOLDER / "dslice-nodemgr.service")
    assert dict(told)["KillMode"] == "process"
    assert dict(told)["OOMPolicy"] == "continue"
    assert [name for name, _ in told if name.startswith(NEVER)] == []
    assert dict(settings(FOLDER / "dslice-slivers.service"))["Delegate"] == "yes"


def test_a_node_manager_keeps_the_rights_that_drivers_use() -> None:
    kept = {
        word
        for name, value in settings(FOLDER / "dslice-nodemgr.service")
        if name == "CapabilityBoundingSet"
        for word in value.split()
    }
    assert {
        "CAP_SYS_ADMIN",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SETFCAP",
        "CAP_SYS_PTRACE",
        "CAP_NET_BIND_SERVICE",
    } <= kept
    assert not kept & {"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_BOOT", "CAP_SYS_TIME", "CAP_BPF", "CAP_NET_RAW"}


@needs("systemd-sysusers")
def test_the_users_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = ["systemd-sysusers", f"--root={tmp_path}", str(FOLDER / "sysusers.conf")]
    for _ in range(2):
        assert subprocess.run(made, capture_output=True).returncode == 0
    users = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    assert {"dslice-plc", "dslice-agent", "dslice-svm", "dslice-queue"} <= users


@needs("systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others: root only")
def test_the_folders_are_made_and_each_daemon_reads_its_own_settings(tmp_path: Path) -> None:
    (tmp_path / "etc/dslice").mkdir(parents=True)
    users = ("dslice-plc", "dslice-agent", "dslice-svm", "dslice-queue")
    entries = [f"{name}:x:{800 + number}:{800 + number}::/:/bin/false" for number, name in enumerate(users)]
    (tmp_path / "etc/passwd").write_text("\n".join(["root:x:0:0::/:/bin/sh", *entries]) + "\n")
    groups = [f"{name}:x:{800 + number}:" for number, name in enumerate(users)]
    (tmp_path / "etc/group").write_text("\n".join(["root:x:0:", *groups]) + "\n")
    for name in ("plc", "svm", "node"):
        (tmp_path / f"etc/dslice/{name}.toml").write_text("")
    made = subprocess.run(
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", str(FOLDER / "tmpfiles.conf")],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    found = {path.name: path.stat() for path in (tmp_path / "etc/dslice").iterdir()}
    assert {name: (entry.st_mode & 0o777, entry.st_gid) for name, entry in found.items()} == {
        "plc.toml": (0o640, 800),
        "svm.toml": (0o640, 802),
        "node.toml": (0o600, 0),
    }
    assert (tmp_path / "var/lib/dslice").is_dir()


def test_without_groups_of_the_second_version_the_node_manager_just_starts(tmp_path: Path) -> None:
    """The script asks systemd where the slivers' group is; here that is nowhere."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho /no-such-group\n")
    (tmp_path / "systemctl").chmod(0o755)
    ran = subprocess.run(
        [FOLDER / "slivers-group", "enter", "/bin/echo", "run", "nodemgr"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (0, "run nodemgr\n")
