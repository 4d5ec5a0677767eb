"""The contract of slivers with root inside, where the node manager is not root but has subordinate ids: the same tests,
run by such a user."""

from __future__ import annotations

import os
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from admin.images.sources import entries
from admin.images.store import Store
from tests.integration.rootless.plainuser import PlainUser

# The driver is opened by tests in the process that runs them; it takes the ids before anything else.
_PYTEST = """
import sys
from pathlib import Path
from nodemgr.slivers.drivers.choice import take_ids
take_ids("machine", Path("/nonexistent"))
import pytest
sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
"""
# A module of tests, and how many of them pass at least; all of them in one run.
CONTRACT = {
    "test_life": 20,
    "test_root": 34,
    "test_image": 1,
    "test_enemy": 20,
    "test_escapes": 70,
    "test_ready": 10,
    "test_damage": 10,
}


@pytest.fixture(scope="module")
def user() -> Iterator[PlainUser]:
    with PlainUser.made() as made:
        yield made


@pytest.fixture(scope="module")
def passed(user: PlainUser) -> Counter[str]:
    """How many tests of each module have passed as this user."""
    folder = Path(__file__).parents[1] / "slivers"
    options = ["-rps", f"--basetemp={user.home}/contract", *(str(folder / f"{module}.py") for module in CONTRACT)]
    done = user.run([sys.executable, "-c", _PYTEST, *options], {"DSLICE_TEST_DRIVERS": "machine"})
    assert done.returncode == 0, done.stdout[-60_000:]
    return Counter(re.findall(r"^PASSED \S*/(\w+)\.py::", done.stdout, re.MULTILINE))


@pytest.mark.timeout(800)
def test_the_contract_holds(passed: Counter[str]) -> None:
    for module, least in CONTRACT.items():
        assert passed[module] >= least, passed


_TRIED = """
import logging, os, sys
from pathlib import Path
from nodemgr.slivers.drivers.choice import open_driver, take_ids
from trust.errors import Refusal
logging.basicConfig(format="%(message)s")
try:
    take_ids(sys.argv[1], Path(sys.argv[2]))
    print(open_driver(sys.argv[1], Path(sys.argv[2])).name)
except Refusal as refusal:
    print("refused:", refusal.reason)
"""


def tried(user: PlainUser, driver: str) -> str:
    return user.run([sys.executable, "-c", _TRIED, driver, f"{user.home}/{driver}"]).stdout


def test_root_inside_is_what_auto_takes(user: PlainUser) -> None:
    assert tried(user, "auto").splitlines()[-1] == "machine"


def test_without_ids_there_is_no_root_inside_and_the_log_says_what_gives_them() -> None:
    with PlainUser.made(ids=False) as user:
        said = tried(user, "auto").splitlines()
        assert said[-1] in ("bubblewrap", "unshare")
        assert "slivers have no root of their own here" in said[0]
        assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER" in said[0]
        assert tried(user, "machine").startswith("refused: /etc/subuid gives user")


def test_an_image_of_such_a_user_has_the_ids_and_the_digest_that_root_gives_it(user: PlainUser, tmp_path: Path) -> None:
    """And is removed again by the same command, which alone can."""
    source = user.home / "source"
    (source / "etc").mkdir(parents=True)
    (source / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (source / "etc/shadow").touch(0o640)
    tar = user.home / "source.tar"

    def whose(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid = 0, 42 if member.name.endswith("shadow") else 0
        return member

    with tarfile.open(tar, "w") as packed:
        packed.add(source, ".", filter=whose)
    folder, image = user.home / "images", [sys.executable, "-c", "from admin.main import main; main()", "image"]
    done = user.run([*image, "add", "small", str(tar)], {"DSLICE_IMAGES": str(folder)})
    assert done.returncode == 0, done.stdout
    (kept,) = Store(folder).images()
    shadow = (folder / "small/root/etc/shadow").stat()
    assert (shadow.st_uid, shadow.st_gid) == (user.first, user.first + 42)
    assert (
        kept.digest
        == Store(tmp_path / "images").add("small", lambda: entries(tar, tmp_path), kept.made_at).image.digest
    )
    assert user.run([*image, "remove", "small"], {"DSLICE_IMAGES": str(folder)}).returncode == 0
    assert not (folder / "small").exists()


_NODE_MANAGER = """
import asyncio, os, sys, uuid
from pathlib import Path
from nodemgr.slivers.drivers.choice import open_driver, take_ids
from nodemgr.slivers.drivers.driver import SliverSpec
from trust.sshkeys import new_ssh_key_pair

name, folder, *work = sys.argv[1:]
take_ids(name, Path(folder))
driver = open_driver(name, Path(folder))
for each in work:
    if each == "create":
        spec = SliverSpec("ocean", uuid.uuid4(), "ocean", 256, 100, *new_ssh_key_pair("ocean"))
        asyncio.run(driver.create(spec))
    elif each in ("start", "delete"):
        asyncio.run(getattr(driver, each)("ocean"))
    else:
        session = driver.enter("ocean", ["/bin/sh", "-c", each], pty=None)
        print(open(session.stdout).read().strip())
        session.wait()
"""


def node_manager(user: PlainUser, driver: str, folder: str, *work: str) -> list[str]:
    """One that does this and ends; what its sessions say."""
    done = user.run([sys.executable, "-W", "ignore", "-c", _NODE_MANAGER, driver, f"{user.home}/{folder}", *work])
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_another_node_manager_finds_them_running(user: PlainUser) -> None:
    node_manager(user, "machine", "again", "create", "sudo touch /run/kept; (setsid sleep 611 >/dev/null 2>&1 &)")
    said = node_manager(user, "machine", "again", "ls /run/kept; sudo id -u; pgrep -c -f '^sleep 611'", "delete")
    assert said[-3:] == ["/run/kept", "0", "1"]
    assert os.listdir(user.home / "again") == [".ssh"]


def test_slivers_from_before_there_were_ids_are_started_anew(user: PlainUser) -> None:
    node_manager(user, "unshare", "before", "create", "echo kept >~/kept")
    said = node_manager(user, "machine", "before", "start", "cat ~/kept; id -u", "delete")
    assert any("was made without subordinate ids and is started anew" in line for line in said)
    assert said[-2:] == ["kept", "0"]
