"""A playbook of thirty tasks, at one server after the other: so the second finds all as it should be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.client import Door
from tests.clients.doing import tried
from tests.clients.installed import ALL

PLAYBOOK = Path(__file__).with_name("playbook.yml")
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")

CONTROL = """\
Package: tide
Version: 1.0
Architecture: all
Maintainer: I <i@example.org>
Description: tides
"""
SERVICE = """\
#!/bin/sh
# Provides: tide
case $1 in
start) setsid sleep infinity >/dev/null 2>&1 </dev/null & echo $! >/run/tide.pid ;;
stop) kill "$(cat /run/tide.pid)"; rm /run/tide.pid ;;
status) test -d "/proc/$(cat /run/tide.pid)" ;;
esac
"""

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not ALL, reason="a minute or two; make clients tries it"),
    pytest.mark.skipif(not ANSIBLE.exists(), reason="needs ansible-core, of the extra dev"),
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="this node's packages are not dpkg's"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of a playbook, with what its tasks send."""
    package = tmp_path / "package"
    for place, text in {"DEBIAN/control": CONTROL, "etc/init.d/tide": SERVICE}.items():
        (package / place).parent.mkdir(parents=True, exist_ok=True)
        (package / place).write_text(text)
    (package / "etc/init.d/tide").chmod(0o755)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(package), str(tmp_path / "tide.deb")], check=True)
    (tmp_path / "wave").write_text("wave\n")
    with tarfile.open(tmp_path / "tide.tar.gz", "w:gz") as archive:
        for name in ("tide.deb", "wave"):
            archive.add(tmp_path / name, f"out/{name}")
    (tmp_path / "tide.conf.j2").write_text("slice = {{ ansible_user }}\n")
    (tmp_path / "tide.sh").write_text('#!/bin/sh\necho "the tide is $1"\n')
    shutil.copy(PLAYBOOK, tmp_path)
    return tmp_path


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder for ssh's shared connections, whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="dslice-") as folder:
        yield folder


def test_thirty_tasks(door: Door, project: Path, sockets: str) -> None:
    node = door.node
    if node.driver.name != "machine":
        pytest.skip("without root inside there are no users, packages and services")
    (project / "hosts").write_text(f"door ansible_user={node.login} ansible_python_interpreter=/usr/bin/python3\n")
    ssh = f"-F {door.config} -o ControlMaster=auto -o ControlPersist=5 -o ControlPath={sockets}/%C"
    variables = os.environ | {"ANSIBLE_SSH_ARGS": ssh, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(project)}
    variables["ANSIBLE_PIPELINING"] = "1"  # or else becoming a user without rights needs setfacl
    play = [str(ANSIBLE), "-i", str(project / "hosts"), str(project / "playbook.yml")]
    first = tried(play, variables=variables)
    assert first.returncode == 0, first.stdout.decode()[-3000:]
    assert re.search(rb"ok=32 ", first.stdout), first.stdout[-500:]
    assert (project / "fetched/tide.txt").read_text() == "high\n"
