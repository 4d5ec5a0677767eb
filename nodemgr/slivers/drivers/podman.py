"""Slivers as podman containers, for production nodes: podman's own API through the `docker` package, sessions by runc.

As root they are machines. podman makes the container of an image that this module makes itself, an empty frame with
the host's programs bound to it, and starts the first process there. Then the node manager builds the sliver's root file
system, as for the driver `machine`, and puts it in the place of the frame (`mounts.give_root`). So podman opens no path
of it, and images, disks, resets and what is seen inside have one implementation. Where there can be no machines, a
sliver has one user and a view of the host's programs, all bound to the frame.

Traps, each met: a session by the API's exec leaves two conmon processes for 300 s, hence `runc exec`. crun gives the
host's own /dev/null to the container's root when uids are mapped, hence runc only. A container whose PID 1 ignores
SIGTERM takes 10 s to remove, hence SIGKILL as what stops it. The Docker API cannot map uids, hence podman's own create
call.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from nodemgr.slivers.drivers.container import (
    LABEL,
    ContainerDoor,
    MachineContainerDoor,
    RootContainerDoor,
    frame,
    machine_specification,
    shares,
    specification,
)
from nodemgr.slivers.drivers.driver import TERMS, Likeness, News, Terms
from nodemgr.slivers.drivers.keeper import ceilings, close_user_namespaces
from nodemgr.slivers.drivers.memory import MemoryNews
from nodemgr.slivers.drivers.rooted import RootedDriver, root_user, saying_what_mends
from nodemgr.slivers.inside import etc, machine, sysfs
from nodemgr.slivers.inside.folder import Record, SliverFolder
from nodemgr.slivers.inside.root import built
from nodemgr.slivers.inside.view import NAMELESS_HOME, Bind, Entry
from nodemgr.slivers.limits import cgroups, hostranges, seccomp
from nodemgr.slivers.limits.meminfo import write_meminfo
from nodemgr.slivers.limits.rlimits import rlimits
from nodemgr.slivers.process import mounts
from nodemgr.slivers.process.hangup import cut_off
from nodemgr.slivers.process.launch import program, when_settled, words
from nodemgr.slivers.process.processes import Process, pids
from nodemgr.slivers.process.spawn import run_helper
from rpc.files import replace_file
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    import docker

log = logging.getLogger(__name__)
_API, _DOCKER_API = "/v4.0.0/libpod", "1.40"
_BUSY_TRIES, _BUSY_PAUSE = 25, 0.2  # seconds
T = TypeVar("T")
_NOT_YET = ("busy", "no such process")
_NOBODY = UUID(int=0)  # whose a prepared sliver is
_STAGING = "/home"  # a folder of the frame's
# Gives the home of a prepared sliver with one user its place, from outside: nothing inside may mount.
_NAME = f"""
set -e
mount -n -o remount,bind,rw /
mkdir "/home/$1"
mount -n --move {NAMELESS_HOME} "/home/$1"
rmdir {NAMELESS_HOME}
mount -n -o remount,bind,ro /
"""


def default_url() -> str:
    """Where podman answers: $DSLICE_PODMAN_URL, else the place that its own systemd socket has."""
    folder = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    return os.environ.get("DSLICE_PODMAN_URL", f"unix://{folder}/podman/podman.sock")


class PodmanDriver(RootedDriver):
    """Slivers that podman holds.

    Args:
        directory: as every driver's.
        url: of podman's API, `unix:///run/podman/podman.sock` say.

    Raises:
        Refusal: INTERNAL when podman does not answer there, or there is no runc.
    """

    name = "podman"

    def __init__(self, directory: Path, url: str | None = None, terms: Terms = TERMS) -> None:
        self._client = _connect(url or default_url())
        self._runc = program("runc")
        self.terms = terms
        try:
            self.open_roots(directory)
        except Refusal as refusal:
            log.warning("slivers have no root of their own here: %s", refusal.reason)
        super().__init__(directory)
        own = terms.user_namespaces  # in which they mount what they like
        self._filter = json.dumps(seccomp.profile(user_namespaces=own, mounts=own)).encode()
        self._image = _import_frame(self._client)
        self._memory = MemoryNews(self._killed())

    def hold(self, record: Record, view: Sequence[Entry]) -> Process:
        if record.host_uid is None and os.geteuid() == 0:
            raise Refusal(Code.INTERNAL, "root needs a host uid for each sliver, and this container has none to give")
        self._remove(record.slice)
        try:
            with saying_what_mends(record):
                return self._begin(record, SliverFolder(self.directory, record.slice), record.slice, view)
        except BaseException:
            self._remove(record.slice)
            raise

    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> Unnamed:
        record = Record(name, _NOBODY, like.hostname, like.memory_mb, like.processes, host_uid)
        sliver = SliverFolder.called(self.directory / name)
        self.make_disk(sliver, like.disk_mb)
        try:
            return Unnamed(self._begin(record, sliver, "", view), self._id(name), record.cpu)
        except BaseException:
            self._remove(name)
            raise

    def name_first(self, first: Unnamed, record: Record) -> None:
        with _refusing("podman did not rename the sliver"):
            self._client.containers.get(first.container).rename(self._name(record.slice))
        if record.cpu != first.cpu:
            weigh = [self._runc, "update", "--cpu-share", str(shares(record.cpu)), first.container]
            run_helper(weigh, "the sliver's weight cannot be changed")
        inside = [program("nsenter"), "-t", str(first.process.pid), "-m"]
        command = ["/bin/sh", "-c", _NAME, "sh", record.slice]
        if hostranges.is_ours(record.host_uid):
            inside, command = [*inside, "-U", "-S", "0", "-G", "0"], machine.named(record.slice)
        run_helper([*inside, "--", *command], "the sliver's home cannot be put in its place")

    def end_first(self, first: Unnamed, slice: str | None = None) -> None:
        first.process.kill()
        self._remove_container(first.container)

    async def news(self) -> Sequence[News]:
        return [*await super().news(), *await self._read(self._memory_news)]

    def _memory_news(self) -> list[News]:
        self._memory.count(self._killed(), self._groups)
        return self._memory.news()

    def _groups(self) -> dict[str, str]:
        """A name for the control group of each sliver that runs: its first process's pid."""
        return {slice: str(keeper.pid) for slice, keeper in self._recorded().items()}

    def _killed(self) -> dict[str, int]:
        """How many processes the kernel has ended for want of memory, by group."""
        found = {}
        for pid in self._groups().values():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                places = cgroups.of_process(int(pid))
                if folder := places.get("memory") or places.get(""):
                    found[pid] = cgroups.killed_in(folder) or 0
        return found

    def let_go(self, slice: str, keeper: Process) -> None:
        keeper.kill(unblock=lambda: cut_off(self.entrants(slice, keeper)))
        self._remove(slice)

    def door(self, record: Record, keeper: Process) -> ContainerDoor:
        kind = MachineContainerDoor if hostranges.is_ours(record.host_uid) else ContainerDoor
        return self._door(kind, record, keeper)

    def boot_door(self, record: Record, keeper: Process) -> ContainerDoor:
        kind = RootContainerDoor if hostranges.is_ours(record.host_uid) else ContainerDoor
        return self._door(kind, record, keeper)

    def _door(self, kind: type[ContainerDoor], record: Record, keeper: Process) -> ContainerDoor:
        limits = rlimits(ceilings(record), grouped=True)
        return kind(record.slice, keeper.pid, record.host_uid, self._runc, self._id(record.slice), limits)

    def entrants(self, slice: str, keeper: Process) -> Sequence[int]:
        identity = self._id(slice).encode()
        return [pid for pid in pids() if identity in (said := words(pid)) and b"exec" in said]

    def end_unrecorded(self, recorded: Collection[int], slice: str | None = None) -> None:
        with _refusing("podman does not say what runs"):
            ours: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={self.mark}"}
            containers = self._client.containers
            for container in once_free(lambda: containers.list(all=True, ignore_removed=True, filters=ours)):
                meant = slice is None or container.name == self._name(slice)
                if meant and container.attrs["State"]["Pid"] not in recorded:
                    self._remove_container(str(container.id))

    def _begin(self, record: Record, sliver: SliverFolder, slice: str, view: Sequence[Entry]) -> Process:
        """The first process of a new container; `slice` is empty where it is not known yet."""
        told = [Bind(write_meminfo(sliver.path, record.memory_mb), "/proc/meminfo"), *sysfs.shown(sliver.path)]
        words = (self._image, self._name(record.slice), self.mark)
        if not hostranges.is_ours(record.host_uid):
            return self._run(record, specification(record, [*view, *told], *words))
        first = root_user(sliver, slice)
        etc.write_first_process(sliver.etc, None)
        replace_file(sliver.path / "seccomp.json", self._filter, durable=False)
        keeper = self._run(record, machine_specification(record, sliver.path, *words))
        try:
            groups = cgroups.of_process(keeper.pid)
            told += [Bind(folder, f"/sys/fs/cgroup/{kind}".rstrip("/")) for kind, folder in groups.items()]
            mounts.apart(lambda host: self._give_root(record, sliver, slice, told, first, keeper.pid, host))
        except OSError as error:
            raise Refusal(Code.INTERNAL, f"the sliver's root file system cannot be mounted: {error}") from error
        return keeper

    def _give_root(
        self, record: Record, sliver: SliverFolder, slice: str, shown: Sequence[Entry], first: int, pid: int, host: int
    ) -> None:
        """Build the sliver's root file system, in this thread (`mounts.apart`), and put it in the place of the frame
        that its first process `pid` is in."""
        parts = self.parts(sliver, record.image, shown, first)
        make = machine.made(record.hostname.replace("_", "-"), slice, etc.machine_id(sliver.etc), fresh=parts.fresh)
        enter = [program("nsenter"), "-t", str(pid), "-U", "-S", "0", "-G", "0", "--"]
        with contextlib.ExitStack() as opened:
            users, namespace = (opened.enter_context(_namespace(pid, kind)) for kind in ("user", "mnt"))
            parts.make()
            with built(parts, users, host) as finish:
                finish(pid)
                run_helper([*enter, *make], "the sliver's root file system cannot be given its names")
                mounts.give_root(namespace, _STAGING)

    def _run(self, record: Record, spec: dict[str, Any]) -> Process:
        with _refusing("podman did not make the sliver"):
            answer = self._client.api.post(f"http+docker://localhost{_API}/containers/create", json=spec)
            if answer.status_code != 201:
                raise Refusal(Code.INTERNAL, f"podman did not make the sliver: {answer.text[:300]}")
            container = self._client.containers.get(spec["name"])
            container.start()
            container.reload()
        keeper = when_settled(int(container.attrs["State"]["Pid"]))
        owned = record.host_uid is not None  # else the user namespace is not the sliver's own
        if owned and not (self.terms.user_namespaces and hostranges.is_ours(record.host_uid)):
            close_user_namespaces(keeper.pid, record.host_uid, owned=False)
        return keeper

    def _name(self, slice: str) -> str:
        return f"dslice-{self.mark.rstrip('/')}-{slice}"

    def _id(self, slice: str) -> str:
        with _refusing(f"podman does not know the sliver of {slice}"):
            return str(once_free(lambda: self._client.containers.get(self._name(slice))).id)

    def _remove(self, slice: str) -> None:
        self._remove_container(self._name(slice))

    def _remove_container(self, which: str) -> None:
        """By name or id."""
        import docker.errors

        with _refusing("podman did not remove the sliver"), contextlib.suppress(docker.errors.NotFound):
            once_free(lambda: self._client.containers.get(which).remove(force=True))


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A prepared sliver's first process, its container's full id, and its weight."""

    process: Process
    container: str
    cpu: int

    def settle(self) -> None:
        """It was ready before it had a name."""


def once_free(ask: Callable[[], T], pause: float = _BUSY_PAUSE) -> T:
    """What podman answers; asked again while it says that something of a container is busy, or that a process is gone:
    on a loaded machine its own cleaning up after the container's end is not done yet. Raises the last
    `docker.errors.APIError`."""
    import docker.errors

    left = _BUSY_TRIES
    while True:
        try:
            return ask()
        except docker.errors.APIError as error:
            left -= 1
            if not left or not any(word in str(error) for word in _NOT_YET):
                raise
        time.sleep(pause)


@contextlib.contextmanager
def _namespace(pid: int, kind: str) -> Iterator[int]:
    """A descriptor of a process's namespace. OSError when it is gone."""
    found = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield found
    finally:
        os.close(found)


def _connect(url: str) -> docker.DockerClient:
    import docker

    with _refusing(f"podman does not answer at {url} (start podman.socket, or set DSLICE_PODMAN_URL)"):
        # Asked for its version, podman asks dpkg for that of each of its parts: seconds on a busy machine.
        client = docker.DockerClient(base_url=url, version=_DOCKER_API)
        client.api.headers["Connection"] = "close"  # else the package keeps one for each of 25 paths
        client.ping()
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
