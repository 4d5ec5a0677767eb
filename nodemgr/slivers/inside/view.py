"""What a sliver sees of a file system: a list of mounts, pure, that every keeper driver renders in its own way.

The host's programs (/usr) read-only; an /etc of the sliver's own, written by the node manager and bound read-only; the
slice's home and /tmp on the node's disk; a small writable /run; devices, /proc and /dev/shm of its own. Nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHM_BYTES = 64 << 20
RUN_BYTES = 16 << 20
VAR = ("cache", "lib", "log")  # of /var, beside tmp
TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
NAMELESS_HOME = "/home/.nameless"  # where the home of a prepared sliver is, until its slice is known

# Live folders of the host's /etc that programs in /usr need: trust anchors and alternatives. No secrets in them.
_HOST_ETC = ("/etc/alternatives", "/etc/ssl/certs", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/crypto-policies")


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder of the host, seen at `target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """An empty folder in memory, of at most `size` bytes."""

    target: str
    size: int
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    """A link at `target` that points to `source`."""

    source: str
    target: str


Entry = Bind | Tmpfs | Symlink


@dataclass(frozen=True, slots=True)
class Folders:
    """The host's folders of one sliver: home, tmp and those in var are the sliver's, etc and ssh the node manager's."""

    home: Path
    tmp: Path
    var: Path
    etc: Path
    ssh: Path
    python: Path | None = None


def host_etc() -> tuple[str, ...]:
    """Those live folders that this host has."""
    return tuple(path for path in _HOST_ETC if os.path.isdir(path))


def home_of(slice: str) -> str:
    """Where the slice's home is inside: `~` of the one user there."""
    return f"/home/{slice}"


def entries(slice: str | None, folders: Folders) -> list[Entry]:
    """Everything but /proc and /dev, in the order in which it is mounted; without a slice, what is there before it."""
    view: list[Entry] = [Bind(Path("/usr"), "/usr"), *top_level(), Bind(folders.etc, "/etc")]
    view += [Bind(Path(path), path) for path in host_etc()]
    view += [Bind(folders.ssh, "/etc/ssh"), Tmpfs("/run", RUN_BYTES)]
    view += [Bind(folders.tmp, "/tmp", writable=True), Bind(folders.tmp, "/var/tmp", writable=True)]  # noqa: S108
    view += [Bind(folders.var / name, f"/var/{name}", writable=True) for name in VAR]
    view += [Bind(folders.home, home_of(slice) if slice else NAMELESS_HOME, writable=True)]
    view += [Symlink(home_of(slice), "/root")] if slice else []
    if folders.python is not None:
        view.append(Bind(folders.python, "/opt/python"))
    return view


def top_level() -> Iterator[Entry]:
    """/bin, /lib and so on: the host's links into /usr, or folders on a host that never merged them."""
    for name in TOP_LEVEL:
        path = Path("/") / name
        if path.is_symlink():
            yield Symlink(os.readlink(path).lstrip("/"), str(path))
        elif path.is_dir():
            yield Bind(path, str(path))
