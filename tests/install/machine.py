"""A machine of its own for systemd: process 1 of a root file system, in namespaces, with a loopback network alone.

Control groups of the second version are its own, below one that is made for it; of the kernel's settings it may change
those of user namespaces only, as slivers do.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.lab import until
from tests.install.conftest import done

GROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")  # where version 2 is, beside version 1 or alone
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}

_BOOT = """
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount --bind proc/sys/user proc/sys/user
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for each in null zero full random urandom tty fuse loop-control loop0 loop1 loop2 loop3 loop4 loop5 loop6 loop7; do
    [ ! -e "/dev/$each" ] || cp -a "/dev/$each" "dev/$each"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
ip link set lo up
pivot_root . mnt
umount -l mnt
exec env -i container=dslice PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """One that runs. `pid`: of its process 1, as its host counts."""

    root: Path
    pid: int

    def run(self, script: str, typed: str = "") -> str:
        """What a shell's script prints there, as root, once it has ended well."""
        there = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root"]
        return done(*there, "/bin/sh", "-euc", f"cd /\n{script}", env=CLEAN, input=typed)

    def runs(self, unit: str) -> bool:
        return self.run(f"systemctl is-active {unit} || true").strip() == "active"


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """systemd as process 1 of this folder, until the block ends."""
    group = next(Path(each) for each in GROUPS if Path(each, "cgroup.procs").exists()) / f"dslice-{os.getpid()}"
    group.mkdir()
    apart = "--pid --fork --kill-child --mount --cgroup --uts --ipc --net --propagation private"
    here = f'echo $$ >{group}/cgroup.procs; exec unshare {apart} /bin/sh -euc "$@"'
    argv = ["/bin/sh", "-euc", here, "boot", _BOOT, "boot", str(root)]
    with (root.parent / "console").open("w") as console:
        outer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        yield Machine(root, _first(outer))
    finally:
        outer.send_signal(signal.SIGKILL)  # unshare takes its children along; it heeds nothing else
        outer.wait()
        until(lambda: not (group / "cgroup.procs").read_text() and _removed(group))


def _first(outer: "subprocess.Popen[bytes]") -> int:
    """Its process 1, once it listens."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    until(lambda: bool(children.read_text().split()))
    pid = int(children.read_text().split()[0])
    until(lambda: Path(f"/proc/{pid}/root/run/systemd/private").exists())
    return pid


def _removed(group: Path) -> bool:
    """Whether a control group and those below it are gone; the kernel lets go of the last of them a moment later."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
    except OSError:
        return False
    return True
