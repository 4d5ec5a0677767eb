"""A disk of a sliver's own: an ext4 file system in a sparse file, on a loop device (loop(4)). As root only.

Writing past its size is ENOSPC inside, and nobody else's trouble. Each image is copied from a template that is made
once per size, so that a disk costs a few milliseconds:

    with disks.attached(image) as device:  # /dev/loop7
        ...                                # run mount_command(device, target) in the sliver's own mount namespace

The device is the kernel's to let go: it is gone with the last mount of it, however the node manager ends.

An image is sparse: it takes what was written to it, and gives back what was deleted. So slivers can be promised more
than the node has; `Disks` counts that, for a file system whose own disk is full loses what was written to it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nodemgr.slivers.process.launch import program
from nodemgr.slivers.process.spawn import run_helper
from rpc.files import sync_folder
from trust.errors import Code, Refusal

IMAGE = "disk.img"  # in the folder of its sliver
OPTIONS = "nosuid,nodev,discard,noinit_itable"
SMALLEST_MB = 16
_MIB = 1 << 20
_BLOCK = 4096
# A file for each 16 KiB, and enough of them on a small disk.
_INODES_PER_MB, _FEWEST_INODES = 64, 16_384
_TEMPLATES = ".disks"
_RELEASE_SECONDS = 10
_ATTEMPTS = 100  # to get a loop device that somebody else did not take first

# linux/loop.h
_CONTROL = Path("/dev/loop-control")
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_AUTOCLEAR, _DIRECT_IO = 4, 16
_CONFIG = struct.Struct("=II 5Q 4I 64s 64s 32s 2Q 8Q")
_SYS_BLOCK = Path("/sys/block")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sliver's disk holds: bytes and files, of how many."""

    used: int
    size: int
    files: int
    most_files: int


@dataclass(frozen=True, slots=True)
class Promise:
    """Bytes: what is free on the node's disk for slivers, what their disks may still take of it, and have taken."""

    free: int
    owed: int
    taken: int


class Disks:
    """The disks of one node's slivers.

    Args:
        directory: the driver's folder; the image of each sliver lies in the sliver's own folder there.
        reserve_mb: MiB that stay the node's.
        overcommit: how many times what is free may be promised; 1 for never more than there is.

    Raises:
        Refusal: INTERNAL when this node cannot make such disks, and what it lacks.
    """

    def __init__(self, directory: Path, *, reserve_mb: int = 256, overcommit: float = 1) -> None:
        self._directory = directory.resolve()
        self._reserve = reserve_mb * _MIB
        self._overcommit = overcommit
        self._templates = directory / _TEMPLATES
        _require_loop_devices()
        try:
            self._templates.mkdir(mode=0o700, exist_ok=True)
            for unfinished in self._templates.glob("*.new"):
                unfinished.unlink()
            self._try()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # a disk that is full now shows nothing
                raise

    def make(self, image: Path, mb: int) -> None:
        """A new empty disk in the place of whatever `image` is; on disk when this returns.

        Refusal: OVER_CAPACITY when the node could not keep that promise.
        """
        image.unlink(missing_ok=True)
        template = self._template(max(mb, SMALLEST_MB))
        self._require_room(template.stat().st_size)
        _copy(template, image)

    @contextlib.contextmanager
    def attached(self, image: Path) -> Iterator[str]:
        """The loop device of this image, there until the block ends, and then for as long as it is mounted.

        Refusal: INTERNAL when there is no device, or the image is still in use by the sliver's last life.
        """
        _wait_until_released(image)
        device = _attach(image)
        try:
            yield os.readlink(f"/proc/self/fd/{device}")
        finally:
            os.close(device)

    def promise(self) -> Promise:
        """What could still be promised is `free * overcommit - owed`."""
        place = os.statvfs(self._directory)
        owed = taken = 0
        for image in self._images():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found = image.stat()
                taken += found.st_blocks * 512
                owed += max(0, found.st_size - found.st_blocks * 512)
        return Promise(place.f_bavail * place.f_frsize - self._reserve, owed, taken)

    def _images(self) -> Iterator[Path]:
        """Those of prepared slivers too; not of those that are being removed, whose blocks are free soon."""
        for folder in self._directory.iterdir():
            if not folder.name.startswith(".removed-"):
                yield folder / IMAGE

    def _require_room(self, size: int) -> None:
        promise = self.promise()
        if promise.owed + size > promise.free * self._overcommit:
            free, owed, wanted = (round(number / _MIB) for number in (promise.free, promise.owed, size))
            raise Refusal(
                Code.OVER_CAPACITY,
                f"the node's disk has {free} MiB free for slivers, {owed} MiB of it promised, and {wanted} MiB are "
                "asked for; take another node, or delete slivers",
            )

    def _template(self, mb: int) -> Path:
        """An empty disk of that size, made by the first who asks."""
        path = self._templates / f"{mb}.img"
        if not path.exists():
            fresh = self._templates / f"{mb}-{os.urandom(4).hex()}.new"
            try:
                _format(fresh, mb)
                fresh.rename(path)
            finally:
                fresh.unlink(missing_ok=True)
            sync_folder(self._templates)
        return path

    def _try(self) -> None:
        """Make, attach and mount one: a container may show loop devices that it must not use."""
        probe = self._templates / "probe.new"
        try:
            _copy(self._template(SMALLEST_MB), probe)
            with self.attached(probe) as device:
                alone = [program("unshare"), "--mount", "--propagation", "private", "--"]
                run_helper([*alone, *mount_command(device, self._templates)], "this node mounts no disks for slivers")
        finally:
            probe.unlink(missing_ok=True)


def mount_command(device: str, target: Path) -> list[str]:
    """To be run, as root, in the mount namespace of the sliver: what is mounted elsewhere outlives it."""
    return [program("mount"), "-n", "-t", "ext4", "-o", OPTIONS, device, str(target)]


def usage(place: Path) -> Usage:
    """Of the disk that `place` is on: `/proc/KEEPER/root`, say, where an overlay over it is the root folder."""
    found = os.statvfs(place)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return Usage(used, used + found.f_bavail * found.f_frsize, found.f_files - found.f_ffree, found.f_files)


def holders(image: Path) -> list[str]:
    """The loop devices that have this image: `/dev/loop7`. It is in use, or not yet let go."""
    found = []
    for name in os.listdir(_SYS_BLOCK):
        if name.startswith("loop"):
            with contextlib.suppress(OSError):  # no file is behind it, or it went this moment
                if (_SYS_BLOCK / name / "loop/backing_file").read_text(errors="surrogateescape") == f"{image}\n":
                    found.append(f"/dev/{name}")
    return found


def _require_loop_devices() -> None:
    for tool in ("mkfs.ext4", "dumpe2fs"):
        program(tool)
    if not os.access(_CONTROL, os.R_OK | os.W_OK):
        raise Refusal(Code.INTERNAL, f"this node has no loop devices ({_CONTROL}); as its root: modprobe loop")
    if not _SYS_BLOCK.is_dir():
        raise Refusal(Code.INTERNAL, f"{_SYS_BLOCK} is not here; as this node's root: mount -t sysfs sysfs /sys")


def _format(path: Path, mb: int) -> None:
    """An ext4 file system whose free blocks are `mb` MiB to the block."""
    wanted = mb * _MIB // _BLOCK
    blocks = wanted + wanted // 16 + 2048
    inodes = str(max(_FEWEST_INODES, mb * _INODES_PER_MB))
    options = ["-b", str(_BLOCK), "-m", "0", "-I", "256", "-N", inodes, "-e", "remount-ro", "-O", "^resize_inode"]
    options += ["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]
    for _ in range(4):
        path.unlink(missing_ok=True)
        make = [program("mkfs.ext4"), "-q", "-F", *options, str(path), f"{blocks * _BLOCK // 1024}k"]
        run_helper(make, "this node makes no file systems")
        free = _free_blocks(path)
        if free == wanted:
            return
        blocks += wanted - free


def _free_blocks(path: Path) -> int:
    """Blocks that can be written to once it is mounted: the kernel keeps 2 % back, 4,096 at most (fs/ext4/super.c)."""
    said = run_helper([program("dumpe2fs"), "-h", str(path)], "a new file system cannot be read")
    facts = {name: value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}
    return int(facts["Free blocks"]) - min(int(facts["Block count"]) // 50, 4096)


def _copy(template: Path, image: Path) -> None:
    """Only what was ever written: a few hundred KiB of however many GiB."""
    with template.open("rb") as source, image.open("xb") as target:
        os.fchmod(target.fileno(), 0o600)
        os.ftruncate(target.fileno(), os.fstat(source.fileno()).st_size)
        for start, end in _written(source.fileno()):
            os.pwrite(target.fileno(), os.pread(source.fileno(), end - start, start), start)
        os.fsync(target.fileno())


def _written(file: int) -> Iterator[tuple[int, int]]:
    """Where a sparse file has data: (first byte, the one after the last)."""
    end = 0
    while True:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def _wait_until_released(image: Path) -> None:
    """Until no device has it: two of them over one file would each write as if it were alone."""
    end = time.monotonic() + _RELEASE_SECONDS
    while left := holders(image):
        if time.monotonic() > end:
            raise Refusal(Code.INTERNAL, f"the sliver's disk is still in use ({left[0]}); try again in a minute")
        time.sleep(0.005)


def _attach(image: Path) -> int:
    """The descriptor of a loop device that is this image's from now on."""
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        config = _CONFIG.pack(backing, _BLOCK, *[0] * 5, 0, 0, 0, _AUTOCLEAR | _DIRECT_IO, b"", b"", b"", *[0] * 10)
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):  # its name comes a moment later
                device = os.open(f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}", os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(device, _CONFIGURE, config)
                except OSError as error:
                    os.close(device)
                    if error.errno != errno.EBUSY:
                        raise
                else:
                    return device
            time.sleep(0.001)  # another was faster
        raise Refusal(Code.INTERNAL, "this node has no free loop device; see `losetup -a` there")
    except OSError as error:
        raise Refusal(Code.INTERNAL, f"this node gives no loop device: {error}; see `losetup -a` there") from error
    finally:
        os.close(backing)
        os.close(control)
