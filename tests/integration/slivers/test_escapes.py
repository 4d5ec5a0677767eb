"""Root inside a sliver is an enemy of its node: no way out that is known here leads anywhere (`probes.py`)."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.slivers.conftest import ROOTED, Node, open_node
from tests.integration.slivers.probes import PROBES, UNSEEN
from tests.integration.slivers.test_enemy import keeper

if os.uname().machine != "x86_64":
    pytest.skip("the numbers of system calls are known here for x86_64 only", allow_module_level=True)

# So that what a probe spoils is its own.
_APART = ["unshare", "--mount", "--propagation", "private", "--uts", "--", "bash", "-c"]


@pytest.fixture(scope="module", params=ROOTED)
def enemy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, podman: str | None
) -> Iterator[tuple[Node, Mapping[str, str]]]:
    """A node with the slivers `enemy` and `victim`, and the variables of the probes."""
    folder = tmp_path_factory.mktemp("escapes")
    shared = Path("/dev/shm") / f"dslice-{uuid.uuid4().hex}"
    made = subprocess.run(["ipcmk", "-M", "4096"], capture_output=True, text=True, check=True).stdout.split()[-1]
    disk = os.stat(folder).st_dev
    with (
        open_node(request.param, folder, podman) as node,
        socket.socket(socket.AF_UNIX) as control,
        directory("/"),  # a descriptor that leads out, as many a daemon has
    ):
        control.bind(str(folder / "control"))
        control.listen()
        (folder / "secret").write_text("of the node")
        shared.write_text("of the node")
        for slice in ("enemy", "victim"):
            node.make(slice)
        yield (
            node,
            {
                "SECRET": str(folder / "secret"),
                "FOLDER": str(node.folder),
                "NODE": str(os.getpid()),
                "VICTIM": str(keeper(node, "victim").pid),
                "DISK": f"{os.major(disk)} {os.minor(disk)}",
                "ID": Path("/etc/machine-id").read_text().strip() if Path("/etc/machine-id").exists() else "none",
                "KEY": made,
                "SHM": shared.name,
            },
        )
    shared.unlink()
    subprocess.run(["ipcrm", "-m", made], check=True)


@contextlib.contextmanager
def directory(path: str) -> Iterator[None]:
    """Held open meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        os.close(descriptor)


def script(probe: str, work: str, variables: Mapping[str, str]) -> str:
    exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    tried = f"if ( {probe}\n) >/dev/null 2>&1; then echo reached; else echo held; fi"
    return f"{exports}export WORK={work}\nmkdir -p $WORK\n{tried}"


@pytest.mark.parametrize("name", PROBES)
def test_it_is_held(enemy: tuple[Node, Mapping[str, str]], name: str) -> None:
    node, variables = enemy
    done = node.root("enemy", script(PROBES[name], f"/srv/{name.replace('/', '-')}", variables))
    assert done.stdout.strip() == "held", done.stderr
    assert keeper(node, "victim").alive


@pytest.mark.parametrize("enemy", ROOTED[:1], indirect=True)  # tried outside, where drivers do not matter
@pytest.mark.parametrize("name", [name for name in PROBES if name not in UNSEEN])
def test_the_probe_would_notice(enemy: tuple[Node, Mapping[str, str]], name: str, tmp_path: Path) -> None:
    node, variables = enemy
    if node.shares_host_users:
        pytest.skip("only the host's root reaches what is probed for")
    words = [*_APART, script(PROBES[name], str(tmp_path / "work"), variables)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "reached", done.stderr


def test_there_are_enough() -> None:
    assert len(PROBES) >= 60
    assert set(UNSEEN) <= set(PROBES)


def test_the_first_process_stays(enemy: tuple[Node, Mapping[str, str]]) -> None:
    """Its end would be the sliver's own, whose root may do that; but not by a signal."""
    node, _ = enemy
    first = keeper(node, "enemy")
    node.root("enemy", "kill -9 1; kill -TERM 1; kill -STOP 1; kill -CHLD 1")
    assert first.alive
    assert node.says("enemy", "echo alive") == "alive"


def test_a_setuid_program_brought_along_is_nobodys_outside(enemy: tuple[Node, Mapping[str, str]]) -> None:
    node, _ = enemy
    node.root_says("enemy", "install -m 6755 /bin/sh /usr/local/bin/shell; install -m 6755 /bin/sh ~enemy/shell")
    found = [path for path in node.folder.rglob("shell") if path.is_file()]
    assert len(found) == 2
    first = os.stat(f"/proc/{keeper(node, 'enemy').pid}").st_uid
    for path in found:
        assert path.stat().st_uid == first != 0
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    for path in found:
        again = [*stranger, "sh", "-c", 'exec "$0" -p -c id', str(path)]  # setpriv(1) itself still has its rights
        assert subprocess.run(again, capture_output=True, check=False).returncode != 0
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in (node.folder, node.folder / "enemy"))


def test_programs_of_its_own_get_no_right_when_a_session_begins(enemy: tuple[Node, Mapping[str, str]]) -> None:
    """Whoever enters passes through programs that root inside may have changed."""
    node, _ = enemy
    node.root_says(
        "enemy",
        "cp /usr/bin/setpriv /usr/bin/setpriv.real; rm /usr/bin/setpriv; cat >/usr/bin/setpriv <<'END'\n#!/bin/sh\n"
        "{ grep -E '^(Uid|CapEff|Seccomp):' /proc/self/status; mount -t tmpfs x /mnt; unshare --mount true;"
        " unshare --user true; cat /proc/1/root/proc/self/uid_map; } >/run/seen 2>&1\n"
        'exec /usr/bin/setpriv.real "$@"\nEND\nchmod 755 /usr/bin/setpriv\n',
    )
    node.says("enemy", "true")
    back = "mv /usr/bin/setpriv.real /usr/bin/setpriv"
    seen = node.root_says("enemy", f"cat /run/seen; {back}; findmnt /mnt || echo none")
    assert "Uid:\t0\t0\t0" in seen
    assert seen.count("denied") + seen.count("not permitted") >= 3
    assert seen.endswith("none")
