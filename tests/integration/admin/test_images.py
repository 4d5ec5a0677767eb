"""`dslice image` as an operator types it, with root file systems that run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nodemgr.images import Images
from nodemgr.storage.store import Burnt, Store
from tests.unit.nodemgr.test_store import lease
from tests.unit.trust.factories import AGENT, NODE, NOW, SLICE_ID, USER
from trust.needs import Needs

DSLICE = Path(sys.prefix) / "bin" / "dslice"
BUSYBOX = shutil.which("busybox")
needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="no busybox here: apt-get install busybox-static")
needs_mmdebstrap = pytest.mark.skipif(
    not os.environ.get("DSLICE_DEEP") or shutil.which("mmdebstrap") is None,
    reason="takes minutes and the network: DSLICE_DEEP=1, and apt-get install mmdebstrap",
)


class Operator:
    """Somebody at a machine whose images are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image(self, *words: str | Path, status: int = 0, **environment: str) -> str:
        """What it says, on stdout and stderr."""
        variables = {**os.environ, "DSLICE_IMAGES": str(self.folder), **environment}
        done = subprocess.run(
            [DSLICE, "image", *map(str, words)], env=variables, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "images")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root file system with busybox in it."""
    root = tmp_path / "busybox"
    for name in ("bin", "etc", "proc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX or "", root / "bin/busybox")
    for name in ("sh", "cat", "echo"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/motd").write_text("a small machine\n")
    return root


def inside(root: Path, *words: str) -> str:
    """What a command says whose root folder that is."""
    command = ["unshare", "--user", "--map-root-user", "--root", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@needs_busybox
def test_a_folder_and_its_tar_are_the_same_image_and_run(operator: Operator, folder: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-C", folder, "-cJf", tmp_path / "busybox.tar.xz", "."], check=True)
    operator.image("add", "folder", folder)
    operator.image("add", "tar", tmp_path / "busybox.tar.xz")
    rows = [json.loads(line) for line in operator.image("list", "--json").splitlines()]
    assert [row["name"] for row in rows] == ["folder", "tar"]
    assert rows[0]["digest"] == rows[1]["digest"]
    assert rows[0]["digest"][:16] in operator.image("list")
    for name in ("folder", "tar"):
        assert inside(operator.folder / name / "root", "/bin/cat", "/etc/motd") == "a small machine\n"
    operator.image("remove", "tar")
    assert "folder" in operator.image("list")
    assert not (operator.folder / "tar").exists()


def test_names_that_are_taken_or_not_there(operator: Operator, tmp_path: Path) -> None:
    """Each message's own cure helps."""
    (tmp_path / "root").mkdir()
    operator.image("add", "one", tmp_path / "root")
    for words in (("add", "one", tmp_path / "root"), ("build", "one", "--suite", "bookworm")):
        assert "there is an image one already: choose another name" in operator.image(*words, status=1)
    operator.image("remove", "one")
    operator.image("add", "one", tmp_path / "root")
    assert "dslice image list shows what there is" in operator.image("remove", "two", status=1)
    assert operator.image("list").startswith("one ")


def test_an_image_in_use_goes_when_its_slivers_have(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    operator.image("add", "one", tmp_path / "root")
    digest = json.loads(operator.image("list", "--json"))["digest"]
    store = Store(tmp_path / "node.db", NODE)
    store.burn(Burnt("t-1", USER, AGENT, SLICE_ID, NOW))
    store.put(lease(needs=Needs(image="one", digest=digest)))
    Images(operator.folder).register("n1", store.path)
    assert "one is in use by oceanstore on n1: try again when they are gone" in operator.image(
        "remove", "one", status=1
    )
    (held,) = store.leases()
    store.forget(held, NOW)
    operator.image("remove", "one")
    # One whose store cannot be read now is asked again.
    operator.image("add", "one", tmp_path / "root")
    store._file.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    store.put(lease())
    assert "what node n1 uses cannot be read now" in operator.image("remove", "one", status=1)
    store.close()
    operator.image("remove", "one")


def test_mistakes_are_one_line(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    unset = operator.image("list", status=2, DSLICE_IMAGES="")
    assert "DSLICE_IMAGES is not set" in unset
    assert "apt-get install mmdebstrap" in operator.image(
        "build", "one", "--suite", "bookworm", status=2, PATH="/nowhere"
    )
    assert "does not exist" in operator.image("add", "one", tmp_path / "nowhere", status=2)
    (tmp_path / "x.tar").write_text("no tar")
    assert "is no whole tar" in operator.image("add", "one", tmp_path / "x.tar", status=2)
    operator.folder.chmod(0o755)
    closed = operator.image("add", "one", tmp_path / "root", status=2)
    assert f"chmod 700 {operator.folder}" in closed
    operator.folder.chmod(0o700)
    operator.image("add", "one", tmp_path / "root")


@needs_mmdebstrap
def test_a_debian_of_the_machines_own_sources(operator: Operator) -> None:
    suite = next(
        line.partition("=")[2].strip()
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    operator.image("build", "debian", "--suite", suite)
    root = operator.folder / "debian" / "root"
    assert suite in inside(root, "/bin/cat", "/etc/os-release")
    assert inside(root, "/usr/bin/dpkg-query", "-W", "sudo").startswith("sudo\t")
