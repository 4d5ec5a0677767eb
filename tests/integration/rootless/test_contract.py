"""The contract of slivers with root inside, where the node manager is not root but has subordinate ids: the same tests,
run by such a user."""

from __future__ import annotations

import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from admin.images.sources import entries
from admin.images.store import Store
from tests.integration.rootless.plainuser import PlainUser

# The driver is opened by tests in the process that runs them; it takes the ids before anything else.
_PYTEST = """
import sys
from nodemgr.slivers.drivers.choice import take_ids
take_ids("machine")
import pytest
sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
"""
# A module of tests, and how many of them pass at least.
CONTRACT = {
    "test_life": 20,
    "test_root": 35,
    "test_enemy": 20,
    "test_escapes": 70,
    "test_ready": 10,
    "test_damage": 10,
}


@pytest.fixture(scope="module")
def user() -> Iterator[PlainUser]:
    with PlainUser.made() as made:
        yield made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", CONTRACT)
def test_the_contract_holds(user: PlainUser, module: str) -> None:
    file = str(Path(__file__).parents[1] / f"slivers/{module}.py")
    options = ["-rs", f"--basetemp={user.home}/{module}", file]
    done = user.run([sys.executable, "-c", _PYTEST, *options], {"DSLICE_TEST_DRIVERS": "machine"})
    assert done.returncode == 0, done.stdout[-20_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= CONTRACT[module], done.stdout


_TRIED = """
import logging, os, sys
from pathlib import Path
from nodemgr.slivers.drivers.choice import open_driver, take_ids
from trust.errors import Refusal
logging.basicConfig(format="%(message)s")
try:
    take_ids(sys.argv[1])
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
