"""What podman is asked for, and how its containers are entered."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nodemgr.slivers.drivers.rooted import LOGIN, OwnUsers
from nodemgr.slivers.inside import machine
from nodemgr.slivers.inside.etc import environment
from nodemgr.slivers.inside.folder import Record
from nodemgr.slivers.inside.view import TOP_LEVEL, VAR, Bind, Entry, Symlink, Tmpfs, top_level
from nodemgr.slivers.limits import hostranges
from nodemgr.slivers.limits.cgroups import SPARE_PROCESSES
from nodemgr.slivers.process.launch import KEEPER
from nodemgr.slivers.process.session import AT_HOME, OneUser, Terminal

LABEL = "dslice.node"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ContainerDoor(OneUser):
    """Into a container with `runc exec`, which adds its seccomp filter and control groups.

    Args:
        runc: absolute path of the runtime.
        container: full id.
        limits: command prefix, inside, that sets the session's rlimits.
    """

    runc: str
    container: str
    limits: tuple[str, ...]
    hands_over: ClassVar[bool] = False
    filter: ClassVar[bytes] = b""

    def command(
        self, argv: Sequence[str], terminal: Terminal | None, variables: Mapping[str, str], kept: int
    ) -> list[str]:
        """runc makes each command lead a session without a terminal; the first one it opens is then its own. The
        container may have been made before its slice was known, hence the whole environment."""
        whole = self.environment(variables)
        own = [word for name, value in whole.items() for word in ("--env", f"{name}={value}")]
        own += ["--preserve-fds", str(kept)] if kept else []
        path = f"/dev/pts/{terminal.number}" if terminal else ""
        take = ["/bin/sh", "-c", f'exec <{path} >{path} 2>&1; exec "$@"', "sh"] if terminal else []
        return [self.runc, "exec", *own, self.container, *take, *self.become(), *self.limits, *AT_HOME, *argv]

    def become(self) -> list[str]:
        """Command prefix, inside, that turns its root into the session's user."""
        return []


@dataclass(frozen=True, slots=True)
class MachineContainerDoor(OwnUsers, ContainerDoor):
    """The same for a sliver with users of its own: the session is the slice's."""

    def become(self) -> list[str]:
        return [*LOGIN]


@dataclass(frozen=True, slots=True)
class RootContainerDoor(MachineContainerDoor):
    """The same for root, at the start of the sliver."""

    def become(self) -> list[str]:
        return []


def specification(
    record: Record, view: Sequence[Entry], image: str, name: str, mark: str, users: int = 1
) -> dict[str, Any]:
    """What podman is asked to make (libpod's SpecGenerator) of a sliver with one user: no capability, nothing writable
    but the sliver's own. `users`: how many there are."""
    spec: dict[str, Any] = {
        "name": name,
        "image": image,
        "command": list(KEEPER),
        "env": environment(record.slice),
        "unsetenvall": True,
        "hostname": record.hostname.replace("_", "-"),
        "netns": {"nsmode": "host"},
        "cgroupns": {"nsmode": "private"},
        "cap_drop": ["ALL"],
        "no_new_privileges": True,
        "read_only_filesystem": True,
        "resource_limits": {
            "memory": {"limit": record.memory_mb * _MIB, "swap": record.memory_mb * _MIB},
            "pids": {"limit": record.processes + SPARE_PROCESSES},
            "cpu": {"shares": shares(record.cpu)},
        },
        "mounts": [mount for entry in [Tmpfs("/sys", 4096), *view] if (mount := _mount(entry)) is not None],
        "labels": {LABEL: mark},
        "use_image_hosts": True,
        "use_image_resolve_conf": True,
        "systemd": "false",
        "oci_runtime": "runc",
        "stop_signal": signal.SIGKILL,
        "image_volume_mode": "ignore",
    }
    if record.host_uid is not None:
        mapped = [{"container_id": 0, "host_id": record.host_uid, "size": users}]
        spec["userns"] = {"nsmode": "private"}
        spec["idmappings"] = {"UIDMap": mapped, "GIDMap": mapped, "HostUIDMapping": False, "HostGIDMapping": False}
    return spec


def machine_specification(record: Record, folder: Path, image: str, name: str, mark: str) -> dict[str, Any]:
    """The same for a machine, whose root file system comes later: until then there are the host's programs, and what
    the node manager shows it.

    Args:
        folder: the sliver's, with the rules for system calls (`nodemgr.slivers.limits.seccomp.profile`).
    """
    view = [Bind(Path("/usr"), "/usr"), *top_level(), Bind(folder / "etc/slice", "/etc/slice")]
    return specification(record, view, image, name, mark, hostranges.IDS) | {
        "cap_add": [f"CAP_{name.upper()}" for name in machine.KEPT],
        "no_new_privileges": False,
        "seccomp_profile_path": str(folder / "seccomp.json"),
    }


def shares(weight: int) -> int:
    """As podman counts a weight (cgroups(7), `cpu.shares`)."""
    return weight * 1024 // 100


def frame() -> bytes:
    """The image, as a tar file: the links of a merged /usr and the empty folders that things are bound to."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        own = [f"var/{name}" for name in ("tmp", *VAR)]
        for folder in ("usr", "etc", "proc", "sys", "dev", "run", "tmp", "var", *own, "home"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for link in TOP_LEVEL:
            if Path("/", link).is_symlink():
                member = tarfile.TarInfo(link)
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(f"/{link}").lstrip("/")
                tar.addfile(member)
    return packed.getvalue()


def _mount(entry: Entry) -> dict[str, Any] | None:
    """One mount as the OCI runtime specification has it; links are in the frame already."""
    match entry:
        case Bind(source, target, writable):
            options = ["rbind", "rw" if writable else "ro", "nosuid", "nodev"]
            return {"type": "bind", "source": str(source), "destination": target, "options": options}
        case Tmpfs(target, size, mode):
            options = [f"size={size}", f"mode={mode:o}", "nosuid", "nodev"]
            return {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": options}
        case Symlink():
            return None
