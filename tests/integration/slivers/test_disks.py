"""Slivers with root inside whose files are on a disk of their own: as large as promised, and gone without a trace."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nodemgr.slivers.drivers.driver import Likeness
from tests.integration.slivers.conftest import ROOTED, Node, open_node, run_async
from tests.integration.slivers.test_enemy import keeper
from tests.integration.slivers.test_life import eventually
from tests.integration.slivers.test_root import CHANGE


@pytest.fixture(params=ROOTED)
def node(request: pytest.FixtureRequest, tmp_path: Path, podman: str | None) -> Iterator[Node]:
    """A node whose slivers have root inside, and may have disks; empty."""
    with open_node(request.param, tmp_path, podman) as made:
        if made.driver.quota != "hard":
            pytest.skip("no loop devices here")
        yield made


def loops(node: Node) -> list[str]:
    return [
        line for line in subprocess.check_output(["losetup", "-a"], text=True).splitlines() if str(node.folder) in line
    ]


def test_a_disk_of_its_own_holds_everything_and_no_more(node: Node) -> None:
    spec = dataclasses.replace(node.spec("ocean"), disk_mb=48)
    node.made.append("ocean")
    run_async(node.driver.create(spec))
    for place in ("~ocean", "/usr", "/var/log", "/tmp"):
        done = node.root(
            "ocean", f"dd if=/dev/zero of={place}/big bs=1M count=200; stat -c %s {place}/big; rm {place}/big"
        )
        assert "No space left on device" in done.stderr
        assert 45 << 20 <= int(done.stdout) <= 50 << 20
    node.root_says("ocean", CHANGE)
    node.says("ocean", "echo kept >~/kept")
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "cat ~/kept /etc/kept; sudo -n id -u") == "kept\nkept\n0"
    assert len(loops(node)) == 1
    assert 0 < run_async(node.driver.disk_kib("ocean")) < 60 << 10
    run_async(node.driver.reset("ocean"))
    assert node.says("ocean", "cat ~/kept; ls /etc/kept 2>/dev/null || sudo -n id -u") == "kept\n0"
    mounted = Path("/proc/self/mountinfo").read_text()
    assert str(node.folder) not in mounted
    run_async(node.driver.delete("ocean"))
    assert [path.name for path in node.folder.iterdir() if not path.name.startswith(".")] == []
    eventually(lambda: loops(node) == [])


async def test_a_prepared_one_has_its_disk_already(node: Node) -> None:
    spec = dataclasses.replace(node.spec("ocean"), disk_mb=64)
    keeping = asyncio.create_task(node.driver.keep_ready(1, Likeness.of(spec), lambda: True))
    node.made.append("ocean")
    try:
        while not node.driver._pool._ready:  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)
            assert not keeping.done()
        (prepared,) = node.driver._pool._ready  # type: ignore[attr-defined]
        await node.driver.create(spec)
        assert keeper(node, "ocean") == prepared.first.process
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
    done = await asyncio.to_thread(
        node.root, "ocean", "dd if=/dev/zero of=/big bs=1M count=200; stat -c %s /big; rm /big"
    )
    assert "No space left on device" in done.stderr
    assert 60 << 20 <= int(done.stdout) <= 66 << 20
    assert 0 < node.driver.owed_mb < 80
    await node.driver.stop("ocean")
    await node.driver.start("ocean")
    assert await asyncio.to_thread(node.says, "ocean", "id -un") == "ocean"
    assert len(loops(node)) == 1
    await node.driver.delete("ocean")
    assert [path.name for path in node.folder.iterdir() if not path.name.startswith((".ssh", ".disks"))] == []


def test_a_disk_is_full_of_files_at_its_quota_and_the_neighbour_is_not(node: Node) -> None:
    """A million files are asked for."""
    for slice in ("ocean", "lake"):
        node.made.append(slice)
        run_async(node.driver.create(dataclasses.replace(node.spec(slice), disk_mb=64)))
    many = node.run("ocean", "mkdir ~/many; cd ~/many; seq 1000000 | xargs sh -c 'touch \"$@\" || exit 255' sh")
    assert "No space left on device" in many.stderr
    assert 10_000 < int(node.says("ocean", "ls ~/many | wc -l")) < 17_000
    assert node.says("lake", "echo fine >~/file; cat ~/file") == "fine"
    assert node.says("ocean", "rm -r ~/many; echo again >~/file; cat ~/file") == "again"
