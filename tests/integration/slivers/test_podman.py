"""What podman alone does: it says that a container is busy while its own cleaning up is not done."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.slivers.conftest import Node, open_node, run_async
from tests.integration.slivers.test_enemy import keeper

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
