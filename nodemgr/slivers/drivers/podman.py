"""Slivers as podman containers, for production nodes: podman's own API through the `docker` package, sessions by runc.

The container shows the same view as every other driver's sliver: the image is an empty frame that this module makes
itself, and all that is in it is bound from the host. So no registry is needed, and a node's slivers stay alike.

Traps, each met: a session by the API's exec leaves two conmon processes for 300 s, hence `runc exec`. crun gives the
host's own /dev/null to the container's root when uids are mapped, hence runc only. A container whose PID 1 ignores
SIGTERM takes 10 s to remove, hence SIGKILL first. The Docker API cannot map uids, hence podman's own create call.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from nodemgr.slivers.drivers.driver import Likeness
from nodemgr.slivers.drivers.keeper import close_user_namespaces
from nodemgr.slivers.drivers.life import LocalDriver
from nodemgr.slivers.inside import sysfs
from nodemgr.slivers.inside.etc import environment
from nodemgr.slivers.inside.folder import Record
from nodemgr.slivers.inside.view import NAMELESS_HOME, VAR, Bind, Entry, Symlink, Tmpfs
from nodemgr.slivers.limits.cgroups import Ceilings
from nodemgr.slivers.limits.meminfo import write_meminfo
from nodemgr.slivers.limits.rlimits import rlimits
from nodemgr.slivers.process.hangup import cut_off
from nodemgr.slivers.process.launch import KEEPER, program, when_settled, words
from nodemgr.slivers.process.processes import Process, pids
from nodemgr.slivers.process.session import AT_HOME, Terminal
from nodemgr.slivers.process.spawn import run_helper
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    import docker

_API = "/v4.0.0/libpod"
_LABEL = "dslice.node"
_BUSY_TRIES, _BUSY_PAUSE = 25, 0.2  # seconds
_MIB = 1 << 20
_NOBODY = UUID(int=0)  # whose a prepared sliver is
# Gives a prepared sliver's home its place, from outside: nothing inside may mount.
_NAME = f"""
set -e
mount -n -o remount,bind,rw /
mkdir "/home/$1"
mount -n --move {NAMELESS_HOME} "/home/$1"
rmdir {NAMELESS_HOME}
mount -n -o remount,bind,ro /
"""
# Beyond the sliver's own ceiling: a way in for somebody who comes to kill processes.
_SPARE_PROCESSES = 32


def default_url() -> str:
    """Where podman answers: $DSLICE_PODMAN_URL, else the place that its own systemd socket has."""
    folder = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    return os.environ.get("DSLICE_PODMAN_URL", f"unix://{folder}/podman/podman.sock")


class PodmanDriver(LocalDriver):
    """Slivers that podman holds.

    Args:
        directory: as every driver's.
        url: of podman's API, `unix:///run/podman/podman.sock` say.

    Raises:
        Refusal: INTERNAL when podman does not answer there, or runs another runtime than runc.
    """

    name = "podman"

    def __init__(self, directory: Path, url: str | None = None) -> None:
        self._client = _connect(url or default_url())
        self._runc = program("runc")
        super().__init__(directory)
        self._image = _import_frame(self._client)

    def hold(self, record: Record, view: Sequence[Entry]) -> Process:
        if record.host_uid is None and os.geteuid() == 0:
            raise Refusal(Code.INTERNAL, "root needs a host uid for each sliver, and this container has none to give")
        self._remove(record.slice)
        told = [Bind(write_meminfo(self.directory / record.slice, record.memory_mb), "/proc/meminfo")]
        told += sysfs.shown(self.directory / record.slice)
        try:
            return self._run(
                record, specification(record, [*view, *told], self._image, self._name(record.slice), self.mark)
            )
        except BaseException:
            self._remove(record.slice)
            raise

    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> Unnamed:
        record = Record(name, _NOBODY, like.hostname, like.memory_mb, like.processes, host_uid)
        return Unnamed(self.hold(record, view), self._id(name))

    def name_first(self, first: Unnamed, record: Record) -> None:
        with _refusing("podman did not rename the sliver"):
            self._client.containers.get(first.container).rename(self._name(record.slice))
        inside = [program("nsenter"), "-t", str(first.process.pid), "-m", "--", "/bin/sh", "-c", _NAME, "sh"]
        run_helper([*inside, record.slice], "the sliver's home cannot be put in its place")

    def end_first(self, first: Unnamed, slice: str | None = None) -> None:
        first.process.kill()
        self._remove_container(first.container)

    def let_go(self, slice: str, keeper: Process) -> None:
        keeper.kill(unblock=lambda: cut_off(self.entrants(slice, keeper)))
        self._remove(slice)

    def door(self, record: Record, keeper: Process) -> ContainerDoor:
        limits = rlimits(Ceilings(record.memory_mb, record.processes), grouped=True)
        return ContainerDoor(record.slice, keeper.pid, record.host_uid, self._runc, self._id(record.slice), limits)

    def entrants(self, slice: str, keeper: Process) -> Sequence[int]:
        identity = self._id(slice).encode()
        return [pid for pid in pids() if identity in (said := words(pid)) and b"exec" in said]

    def end_unrecorded(self, recorded: Collection[int], slice: str | None = None) -> None:
        with _refusing("podman does not say what runs"):
            ours: dict[str, str | list[str] | bool] = {"label": f"{_LABEL}={self.mark}"}
            for container in self._client.containers.list(all=True, ignore_removed=True, filters=ours):
                meant = slice is None or container.name == self._name(slice)
                if meant and container.attrs["State"]["Pid"] not in recorded:
                    self._remove_container(str(container.id))

    def _run(self, record: Record, spec: dict[str, Any]) -> Process:
        with _refusing("podman did not make the sliver"):
            answer = self._client.api.post(f"http+docker://localhost{_API}/containers/create", json=spec)
            if answer.status_code != 201:
                raise Refusal(Code.INTERNAL, f"podman did not make the sliver: {answer.text[:300]}")
            container = self._client.containers.get(self._name(record.slice))
            container.start()
            container.reload()
        keeper = when_settled(int(container.attrs["State"]["Pid"]))
        if record.host_uid is not None:  # else the user namespace is not the sliver's own
            close_user_namespaces(keeper.pid, record.host_uid, owned=False)
        return keeper

    def _name(self, slice: str) -> str:
        return f"dslice-{self.mark.rstrip('/')}-{slice}"

    def _id(self, slice: str) -> str:
        with _refusing(f"podman does not know the sliver of {slice}"):
            return str(self._client.containers.get(self._name(slice)).id)

    def _remove(self, slice: str) -> None:
        self._remove_container(self._name(slice))

    def _remove_container(self, which: str) -> None:
        """By name or id."""
        import docker.errors

        with _refusing("podman did not remove the sliver"), contextlib.suppress(docker.errors.NotFound):
            once_free(lambda: self._client.containers.get(which).remove(force=True))


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A prepared sliver's first process, and its container's full id."""

    process: Process
    container: str

    def settle(self) -> None:
        """It was ready before it had a name."""


def once_free(remove: Callable[[], None], pause: float = _BUSY_PAUSE) -> None:
    """Remove a container, again while podman says that something of it is busy: on a loaded machine its own cleaning up
    after the container's end is not done yet. Raises the last `docker.errors.APIError`."""
    import docker.errors

    for left in reversed(range(_BUSY_TRIES)):
        try:
            remove()
        except docker.errors.APIError as error:
            if not left or "busy" not in str(error):
                raise
            time.sleep(pause)
        else:
            return


@dataclass(frozen=True, slots=True)
class ContainerDoor:
    """Into a container with `runc exec`, which adds its seccomp filter and control groups.

    Args:
        slice, keeper, host_uid: as every door's.
        runc: absolute path of the runtime.
        container: full id.
        limits: command prefix, inside, that sets the session's rlimits.
    """

    slice: str
    keeper: int
    host_uid: int | None
    runc: str
    container: str
    limits: tuple[str, ...]
    hands_over: ClassVar[bool] = False
    filter: ClassVar[bytes] = b""

    @property
    def terminal_owner(self) -> tuple[int, int] | None:
        return None if self.host_uid is None else (self.host_uid, self.host_uid)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return environment(self.slice, variables)

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
        return [self.runc, "exec", *own, self.container, *take, *self.limits, *AT_HOME, *argv]


def specification(record: Record, view: Sequence[Entry], image: str, name: str, mark: str) -> dict[str, Any]:
    """What podman is asked to make (libpod's SpecGenerator): no capability, nothing writable but the sliver's own."""
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
            "pids": {"limit": record.processes + _SPARE_PROCESSES},
            "cpu": {"shares": record.cpu * 1024 // 100},
        },
        "mounts": [mount for entry in [Tmpfs("/sys", 4096), *view] if (mount := _mount(entry)) is not None],
        "labels": {_LABEL: mark},
        "use_image_hosts": True,
        "use_image_resolve_conf": True,
        "systemd": "false",
        "image_volume_mode": "ignore",
    }
    if record.host_uid is not None:
        one = [{"container_id": 0, "host_id": record.host_uid, "size": 1}]
        spec["userns"] = {"nsmode": "private"}
        spec["idmappings"] = {"UIDMap": one, "GIDMap": one, "HostUIDMapping": False, "HostGIDMapping": False}
    return spec


def frame() -> bytes:
    """The image, as a tar file: the links of a merged /usr and the empty folders that things are bound to."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        own = [f"var/{name}" for name in ("tmp", *VAR)]
        for folder in ("usr", "etc", "proc", "sys", "dev", "run", "tmp", "var", *own, "home"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for link in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
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


def _connect(url: str) -> docker.DockerClient:
    import docker

    with _refusing(f"podman does not answer at {url} (start podman.socket, or set DSLICE_PODMAN_URL)"):
        client = docker.DockerClient(base_url=url)
        client.api.headers["Connection"] = "close"  # else the package keeps one for each of 25 paths
        about = client.api.get(f"http+docker://localhost{_API}/info").json()
    runtime = about["host"]["ociRuntime"]["name"]
    if runtime != "runc":
        raise Refusal(Code.INTERNAL, f"podman runs {runtime} here; set runtime = 'runc' in containers.conf")
    return client


def _import_frame(client: docker.DockerClient) -> str:
    """Make the image; its id. The same bytes give the same image, so that a restart makes no other."""
    with _refusing("podman did not take the slivers' image"):
        client.api.import_image_from_data(frame(), repository="localhost/dslice-sliver")
        return str(client.images.get("localhost/dslice-sliver").id)


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turns what docker and requests raise into a Refusal that begins with `what`."""
    import docker.errors
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException, ValueError, KeyError) as error:
        raise Refusal(Code.INTERNAL, f"{what}: {str(error)[:300]}") from error
