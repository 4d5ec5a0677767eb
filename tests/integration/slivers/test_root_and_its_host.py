"""Slivers with root inside, and the machine that they are on: its ids, its file systems, its earlier slivers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from nodemgr.slivers.drivers.choice import open_driver
from nodemgr.slivers.inside import base
from nodemgr.slivers.limits import hostranges
from nodemgr.slivers.process import mounts
from nodemgr.slivers.process.userids import user_namespace
from tests.integration.slivers.conftest import ROOTED, Node, open_node, run_async
from trust.errors import Code, Refusal


@pytest.fixture(params=ROOTED)
def node(request: pytest.FixtureRequest, tmp_path: Path, podman: str | None) -> Iterator[Node]:
    """A node whose slivers have root inside, empty."""
    with open_node(request.param, tmp_path, podman) as made:
        yield made


def test_ranges_are_given_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To each node manager's folder its own, the same again, as many as it needs, and a folder's that is gone to
    another."""
    monkeypatch.setattr(hostranges, "_BLOCKS", 40)
    registry, folders = tmp_path / "registry", [tmp_path / f"node{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
    given = [list(islice(hostranges.available(folder, registry), 40)) for folder in folders]
    assert len({first for ranges in given for first in ranges}) == 12 * 40
    assert all(first % hostranges.IDS == 0 for ranges in given for first in ranges)
    again = [list(islice(hostranges.available(folder, registry), 40)) for folder in folders]
    assert [set(ranges) for ranges in again] == [set(ranges) for ranges in given]
    folders[0].rmdir()
    folders[0].mkdir()
    assert set(islice(hostranges.available(folders[0], registry), 40)) == set(given[0])
    folders[0].rmdir()
    (tmp_path / "other").mkdir()
    others = set(islice(hostranges.available(tmp_path / "other", registry), (40 - 11 * 3) * 16))
    with pytest.raises(Refusal, match="other nodes have all host ids"):
        list(hostranges.available(tmp_path / "other", registry))
    assert others.isdisjoint(first for ranges in given[1:] for first in ranges)
    assert others.issuperset(given[0])


def test_slivers_of_another_driver_go_on_as_they_are(tmp_path: Path) -> None:
    """As after the upgrade of a node whose slivers had one user."""
    with open_node("unshare", tmp_path, None) as node:
        spec = node.make("ocean")
        node.says("ocean", "echo kept >~/kept; setsid sleep 512 >/dev/null 2>&1 </dev/null &")
        node.driver = open_driver("machine", node.folder)
        assert node.says("ocean", "cat ~/kept; id -u; pgrep -c -f '^sleep 512'") == "kept\n0\n1"
        run_async(node.driver.stop("ocean"))
        run_async(node.driver.create(spec))
        assert node.says("ocean", "cat ~/kept; id -u") == "kept\n0"
        with pytest.raises(Refusal) as refused:
            run_async(node.driver.reset("ocean"))
        assert refused.value.code is Code.NOT_ALLOWED
        node.make("lake")
        assert node.says("lake", "id -u") == "1000"


def test_a_file_mode_mask_of_the_nodes_own_is_not_seen_inside(node: Node, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        node.made.append("ocean")
        layers = base.prepare(tmp_path / "bases")
        run_async(node.driver.create(node.spec("ocean")))
    finally:
        os.umask(before)
    assert node.says("ocean", "ls / /usr /etc /var /sys /home /etc/slice >/dev/null; cat /etc/hostname") == "ocean-n-1"
    for path in layers[0].source.rglob("*"):
        here = Path("/", path.relative_to(layers[0].source))
        if path.is_dir() and path.stat().st_mode & 0o055 != 0o055 and path.name not in ("root", "sudoers.d"):
            assert path.stat().st_mode == here.stat().st_mode, here


@pytest.mark.parametrize("node", ROOTED[:1], indirect=True)
def test_a_file_system_that_cannot_shift_ids_is_named(node: Node, tmp_path: Path) -> None:
    """As where the node's own `/` is an overlay."""
    for name in ("upper", "work", "over"):
        (tmp_path / name).mkdir()
    first = next(iter(node.driver._ranges))  # type: ignore[attr-defined]

    def shift(_: int) -> None:
        options = f"lowerdir=/usr,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
        mounts.mount("over", str(tmp_path / "over"), "overlay", 0, options)
        with user_namespace(first, 10) as (_, users), mounts.tree(tmp_path / "over", mounts.RDONLY, users):
            pass

    with pytest.raises(OSError, match=r"cannot shift the ids of a mount.*/over"):
        mounts.apart(shift)
