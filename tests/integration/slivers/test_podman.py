"""What podman alone does: it says that a container is busy while its own cleaning up is not done; and its slivers with
one user, where there can be no machines."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodemgr.slivers.drivers.podman import PodmanDriver
from nodemgr.slivers.limits import hostranges
from tests.integration.slivers.conftest import Node, open_node, run_async
from tests.integration.slivers.test_enemy import keeper
from tests.integration.slivers.test_ready import claimed, keeping, spec
from trust.errors import Code, Refusal

MOUNTS = 120  # podman unmounts some fifty before it gives up, one in 10 ms


@pytest.fixture
def containers(tmp_path: Path, podman: str | None) -> Iterator[Node]:
    with open_node("podman", tmp_path, podman) as node:
        yield node


def shared_memory(podman: str) -> list[Path]:
    """Where podman mounts each container's /dev/shm."""
    return list(Path(podman.removeprefix("unix://")).parent.glob("root/vfs-containers/*/userdata/shm"))


def make_busy(podman: str, tmp_path: Path) -> None:
    """With an empty folder: what is mounted there, podman removes."""
    (mounted,) = shared_memory(podman)
    empty = tmp_path / "empty"
    empty.mkdir()
    for _ in range(MOUNTS):
        subprocess.run(["mount", "--bind", str(empty), str(mounted)], check=True)


def deleted(node: Node) -> None:
    run_async(node.driver.delete("ocean"))


def deleted_without_a_record(node: Node) -> None:
    (node.folder / "ocean/keeper.json").write_bytes(b"")
    run_async(node.driver.delete("ocean"))


def unrecorded_at_the_next_start(node: Node) -> None:
    (node.folder / "ocean/keeper.json").write_bytes(b"")
    node.driver = node.open()


@pytest.mark.parametrize("removed", [deleted, deleted_without_a_record, unrecorded_at_the_next_start])
def test_a_container_that_is_busy_is_removed_when_it_is_not(
    containers: Node, podman: str, tmp_path: Path, removed: Callable[[Node], None]
) -> None:
    containers.make("ocean")
    first = keeper(containers, "ocean")
    make_busy(podman, tmp_path)
    removed(containers)
    assert not first.alive
    assert shared_memory(podman) == []


@pytest.fixture
def one_user(
    tmp_path: Path, podman: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Node]:
    """A node with slivers of one user, as in a container that has too few ids for machines. `monkeypatch.undo` gives it
    more."""
    if podman is None:
        pytest.skip("podman with runc is not installed here, or this is not root")
    monkeypatch.setattr(hostranges, "_ALL", range(1 << 33, 1 << 34, hostranges.IDS))

    def opened() -> PodmanDriver:
        return PodmanDriver(tmp_path / "slivers", podman)

    node = Node(tmp_path / "slivers", opened(), opened)
    assert "too few user ids for slivers with a root of their own" in caplog.text
    yield node
    for slice in node.made:
        run_async(node.driver.delete(slice))


def test_slivers_with_one_user_go_on_as_they_are(one_user: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the upgrade of a node whose slivers had one user."""
    assert (one_user.has_root, one_user.driver.quota) == (False, "watched")
    made = one_user.make("ocean")
    one_user.says("ocean", "echo kept >~/kept; setsid sleep 513 >/dev/null 2>&1 </dev/null &")
    assert "no root inside" in one_user.run("ocean", "sudo true").stderr
    assert one_user.run("ocean", "touch /usr/x || touch /etc/x").returncode != 0
    with pytest.raises(Refusal) as refused:
        run_async(one_user.driver.reset("ocean"))
    assert refused.value.code is Code.NOT_ALLOWED
    monkeypatch.undo()
    one_user.driver = one_user.open()
    assert one_user.has_root
    assert one_user.says("ocean", "cat ~/kept; id -u; pgrep -c -f '^sleep 513'") == "kept\n0\n1"
    run_async(one_user.driver.stop("ocean"))
    run_async(one_user.driver.create(made))
    assert one_user.says("ocean", "cat ~/kept; id -u; whoami") == "kept\n0\nocean"
    with pytest.raises(Refusal, match="one made anew does"):
        run_async(one_user.driver.reset("ocean"))
    one_user.make("lake")
    assert one_user.says("lake", "id -u; sudo id -u") == "1000\n0"


async def test_a_prepared_one_with_one_user_gets_its_name(one_user: Node) -> None:
    async with keeping(one_user, 1):
        taken = await claimed(one_user, spec(one_user, "ocean"))
    assert keeper(one_user, "ocean") == taken.first.process
    assert one_user.says("ocean", "whoami; pwd; touch ~/file; stat -c %U ~/file") == "ocean\n/home/ocean\nocean"
    await one_user.driver.delete("ocean")


async def test_a_prepared_one_gets_the_weight_of_its_slice(containers: Node) -> None:
    if not Path("/sys/fs/cgroup/cpu").is_dir():
        pytest.skip("the weight is called something else in version 2 of control groups")
    async with keeping(containers, 1):
        await claimed(containers, dataclasses.replace(spec(containers, "ocean"), cpu=300))
    assert containers.says("ocean", "cat /sys/fs/cgroup/cpu/cpu.shares") == "3072"
    await containers.driver.delete("ocean")
