"""Files there and back: a big one, many small ones, names that need care; git; and how much room a mounted disk has."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.clients.client import Door
from tests.clients.commandline import Rclone, Sshfs
from tests.clients.doing import done
from tests.clients.installed import ALL
from tests.clients.table import who

MIB = 1 << 20
BIG, SMALL = (64 * MIB, 1_000) if ALL else (4 * MIB, 100)
DIGESTS = "cd {place} && find . -type f -exec sha256sum {{}} + | sort | sha256sum"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have them."""
    folder = tmp_path_factory.mktemp("files") / "tree"
    (folder / "many").mkdir(parents=True)
    (folder / "a b" / "ü").mkdir(parents=True)
    block = os.urandom(MIB)
    with (folder / "big").open("wb") as file:
        for _ in range(BIG // MIB):
            file.write(block)
    for number in range(SMALL):
        (folder / "many" / f"{number}").write_bytes(block[number : number + 500])
    (folder / "a b" / "ü" / "it's").write_bytes(b"care")
    (folder / "empty").touch()
    return folder


@pytest.mark.timeout(1200 if ALL else 180)
@who("get")
def test_a_folder_there_and_back(client: Any, door: Door, tree: Path, tmp_path: Path) -> None:
    there = f"files-{uuid.uuid4().hex}"
    done(client.put(door, tree, there))
    digest = subprocess.run(["sh", "-c", DIGESTS.format(place=tree)], capture_output=True, check=True, text=True).stdout
    assert door.says(DIGESTS.format(place=there)) == digest.strip()
    back = tmp_path / "back"
    done(client.get(door, there, back))
    door.says(f"rm -r {there}")
    again = subprocess.run(["sh", "-c", DIGESTS.format(place=back)], capture_output=True, check=True, text=True).stdout
    shutil.rmtree(back)
    assert again == digest


@pytest.mark.skipif(not ALL, reason="make clients tries it")
@pytest.mark.timeout(1200)
def test_go_copies_a_gigabyte_under_keys_that_are_renewed(front: Door, tmp_path: Path) -> None:
    """The server asks after half of it, and Go's own library knows of no other messages meanwhile."""
    client = Rclone()
    if reason := client.missing():
        pytest.skip(reason)
    there, here, back = f"much-{uuid.uuid4().hex}", tmp_path / "much", tmp_path / "back"
    here.mkdir()
    with (here / "zeros").open("wb") as file:
        file.truncate(1100 * MIB)
    done(client.put(front, here, there))
    done(client.get(front, there, back))
    front.says(f"rm -r {there}")
    done(["cmp", str(here / "zeros"), str(back / "zeros")])


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed here")
def test_git_there_and_back(door: Door, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F {door.config}")
    who_i_am = ["-c", "user.name=I", "-c", "user.email=i@example.org"]
    mine, there = tmp_path / "mine", f"repo-{uuid.uuid4().hex}.git"
    done(["git", "init", "-q", "-b", "main", str(mine)])
    shutil.copy(tree / "big", mine)
    done(["git", "-C", str(mine), "add", "."])
    done(["git", "-C", str(mine), *who_i_am, "commit", "-q", "-m", "tide"])
    door.says(f"git init -q --bare -b main {there}")
    done(["git", "-C", str(mine), "push", "-q", f"door:{there}", "main"])
    done(["git", "clone", "-q", f"door:{there}", str(tmp_path / "back")])
    back = (tmp_path / "back" / "big").read_bytes()
    assert hashlib.sha256(back).digest() == hashlib.sha256((tree / "big").read_bytes()).digest()
    door.says(f"rm -rf {there}")


def test_a_mounted_disk_has_the_room_that_there_is(door: Door) -> None:
    """sshfs says 1000 GB where the server does not tell."""
    client = Sshfs()
    reason = client.missing()
    if reason or not ALL:
        pytest.skip(reason or "make clients tries it")
    mounted = int(done(client.argv(door, 'df --output=size -B1M "$at" | tail -1')))
    assert abs(mounted - int(door.says("df --output=size -B1M ~ | tail -1"))) <= 1
