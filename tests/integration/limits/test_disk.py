"""A sliver's own disk: as large as promised, nobody else's trouble when it is full, and gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nodemgr.slivers.limits import disk
from nodemgr.slivers.limits.disk import IMAGE, Disks, holders, mount_command, usage
from nodemgr.slivers.process.launch import program
from trust.errors import Code, Refusal

MIB = 1 << 20

# Fills the disk, and says how much went in; then the same with files.
FILL = """
import os, sys
written = files = 0
try:
    with open(sys.argv[1] + "/big", "wb", buffering=0) as big:
        while True:
            written += big.write(bytes(1 << 16))
except OSError as full:
    print(full.errno)
os.unlink(sys.argv[1] + "/big")
try:
    while True:
        os.mknod(f"{sys.argv[1]}/{files}")
        files += 1
except OSError as full:
    print(full.errno)
print(written, files)
"""

# Attaches an image and is killed before anything mounts it.
HALF_WAY = """
import sys, time
from pathlib import Path
from nodemgr.slivers.limits.disk import Disks
image = Path(sys.argv[1])
with Disks(image.parent.parent).attached(image) as device:
    print(device, flush=True)
    time.sleep(60)
"""

# How much fits in before and after there are 16,000 files more.
MANY = """
import os, sys
from pathlib import Path
from nodemgr.storage.ballast import free_bytes
print(free_bytes(Path(sys.argv[1])))
for number in range(16_000):
    os.mknod(f"{sys.argv[1]}/{number}")
print(free_bytes(Path(sys.argv[1])))
"""


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    if os.geteuid() != 0:
        pytest.skip("only root mounts disks")
    try:
        return Disks(tmp_path)
    except Refusal as refusal:
        pytest.skip(refusal.reason)


@pytest.fixture
def image(disks: Disks, tmp_path: Path) -> Path:
    return made(disks, tmp_path, "ocean")


def made(disks: Disks, folder: Path, slice: str, mb: int = 32) -> Path:
    (folder / slice).mkdir()
    disks.make(folder / slice / IMAGE, mb)
    return folder / slice / IMAGE


def inside(disks: Disks, image: Path, *command: str) -> str:
    """What a command prints that runs beside the mounted disk, at `../mounted` of its image's folder."""
    place = image.parent.parent / "mounted"
    place.mkdir(exist_ok=True)
    with disks.attached(image) as device:
        mounting = " ".join(mount_command(device, place))
        alone = [program("unshare"), "--mount", "--propagation", "private", "/bin/sh", "-ec", f'{mounting}; exec "$@"']
        return subprocess.run([*alone, "sh", *command], check=True, capture_output=True, text=True).stdout


def let_go(image: Path) -> bool:
    """Whether no device has the image any more, within 10 seconds."""
    end = time.monotonic() + 10
    while holders(image) and time.monotonic() < end:
        time.sleep(0.01)
    return not holders(image)


@pytest.mark.parametrize("mb", [32, 200])
def test_as_large_as_promised_in_bytes_and_in_files(disks: Disks, tmp_path: Path, mb: int) -> None:
    image = made(disks, tmp_path, "ocean", mb)
    other = made(disks, tmp_path, "other")
    said = inside(disks, image, sys.executable, "-c", FILL, str(tmp_path / "mounted")).split()
    assert said[:2] == ["28", "28"]  # ENOSPC
    written, files = map(int, said[2:])
    assert mb * MIB * 0.98 <= written <= mb * MIB * 1.02
    assert 16_000 < files < 17_000
    assert inside(disks, other, "/bin/sh", "-c", f"echo fine > {tmp_path}/mounted/f && cat {tmp_path}/mounted/f")


def test_what_is_written_stays_and_the_device_goes(disks: Disks, image: Path, tmp_path: Path) -> None:
    inside(disks, image, "/bin/sh", "-c", f"echo here > {tmp_path}/mounted/file")
    assert inside(disks, image, "cat", f"{tmp_path}/mounted/file") == "here\n"  # waits until the first life is over
    assert let_go(image)
    assert os.listdir(tmp_path / "mounted") == []


def test_nothing_stays_of_a_node_manager_that_is_killed_half_way(image: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HALF_WAY, str(image)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline().startswith("/dev/loop")
        assert holders(image)
        dying.send_signal(signal.SIGKILL)
    assert let_go(image)
    (tmp_path / ".disks/32-abc.new").write_bytes(b"half")
    Disks(tmp_path)
    assert {path.name for path in (tmp_path / ".disks").iterdir()} == {"16.img", "32.img"}


def test_a_disk_that_is_in_use_is_waited_for_and_then_refused(
    disks: Disks, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disks.attached(image), monkeypatch.context() as patch:
        patch.setattr(disk, "_RELEASE_SECONDS", 0)
        with pytest.raises(Refusal, match="still in use"), disks.attached(image):
            pass
    released = threading.Event()

    def hold() -> None:
        with disks.attached(image):
            released.set()
            time.sleep(0.2)

    holder = threading.Thread(target=hold)
    holder.start()
    released.wait()
    with disks.attached(image) as device:
        assert holders(image) == [device]
    holder.join()


def test_no_more_is_promised_than_there_is(disks: Disks, image: Path, tmp_path: Path) -> None:
    before = disks.promise()
    assert 32 * MIB < before.owed < 50 * MIB
    free_mb = before.free // MIB + 256
    with pytest.raises(Refusal, match="promised") as refused:
        made(Disks(tmp_path, reserve_mb=free_mb - 60), tmp_path, "other")
    assert refused.value.code is Code.OVER_CAPACITY
    made(Disks(tmp_path, reserve_mb=free_mb - 60, overcommit=4), tmp_path, "third")


def test_deleted_files_give_their_room_back_to_the_node(disks: Disks, image: Path, tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    inside(disks, image, "/bin/sh", "-c", f"head -c 20M /dev/urandom > {place}/big; sync")
    assert let_go(image)
    assert image.stat().st_blocks * 512 > 20 * MIB
    inside(disks, image, "/bin/sh", "-c", f"rm {place}/big; sync")
    assert let_go(image)
    assert image.stat().st_blocks * 512 < 10 * MIB


def test_a_file_system_that_is_full_of_files_counts_as_full(disks: Disks, tmp_path: Path) -> None:
    """As the node's own would be, which `nodemgr.storage` asks."""
    image = made(disks, tmp_path, "ocean", 200)
    asked = [sys.executable, "-c", MANY, str(tmp_path / "mounted")]
    empty, full = map(int, inside(disks, image, *asked).split())
    assert empty > 190 * MIB
    assert full < 20 * MIB


def test_usage_counts_bytes_and_files(tmp_path: Path) -> None:
    found = usage(tmp_path)
    assert 0 < found.used < found.size
    assert 0 < found.files < found.most_files


def test_a_node_without_loop_devices_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_CONTROL", tmp_path / "none")
    with pytest.raises(Refusal, match=r"no loop devices .*; as its root: modprobe loop"):
        Disks(tmp_path)


def test_so_does_one_without_sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_SYS_BLOCK", tmp_path / "none")
    with pytest.raises(Refusal, match=r"none is not here; as this node's root: mount -t sysfs sysfs /sys"):
        Disks(tmp_path)
