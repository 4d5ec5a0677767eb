"""The default driver on one machine: a keeper made by bubblewrap. No root needed."""

from __future__ import annotations

from collections.abc import Sequence

from nodemgr.slivers.drivers.keeper import KeeperDriver
from nodemgr.slivers.inside.view import SHM_BYTES, Bind, Entry, Symlink, Tmpfs
from nodemgr.slivers.process.launch import KEEPER, NAMELESS, program


class BubblewrapDriver(KeeperDriver):
    """Slivers whose namespaces bwrap makes (docs/slivers.md, "Drivers")."""

    name = "bubblewrap"
    tools = ("bwrap", "nsenter", "setpriv", "prlimit", "setsid", "unshare")

    def keeper_command(self, hostname: str, view: Sequence[Entry], *, nameless: bool) -> list[str]:
        return bwrap_command(hostname, view, nameless=nameless)


def bwrap_command(hostname: str, view: Sequence[Entry], *, nameless: bool = False) -> list[str]:
    """The bwrap command line of a keeper. Any uid but 0 would make --dev nest a second user namespace, which nsenter
    cannot join. The root folder and /dev end read-only; nobody inside has the right to mount them otherwise. A keeper
    that is `nameless` (`launch.NAMELESS`) sees to the root folder itself."""
    apart = ["--unshare-user", "--uid", "0", "--gid", "0", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    apart += ["--unshare-cgroup", "--hostname", hostname, "--cap-drop", "ALL"]
    apart += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"] if nameless else []
    mounts = [word for entry in view for word in _words(entry)]
    # An IPC namespace's root may turn that namespace's switches, hence /proc/sys read-only.
    proc = ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    special = ["--dev", "/dev", *_words(Tmpfs("/dev/shm", SHM_BYTES, 0o1777))]  # noqa: S108
    closed = ["--remount-ro", "/dev", *([] if nameless else ["--remount-ro", "/"])]
    first = NAMELESS if nameless else KEEPER
    return [program("bwrap"), *apart, *proc, *mounts, *special, *closed, "--as-pid-1", "--info-fd", "3", "--", *first]


def _words(entry: Entry) -> list[str]:
    match entry:
        case Bind(source, target, writable):
            return ["--bind" if writable else "--ro-bind", str(source), target]
        case Tmpfs(target, size, mode):
            return ["--perms", f"{mode:o}", "--size", str(size), "--tmpfs", target]
        case Symlink(source, target):
            return ["--symlink", source, target]
