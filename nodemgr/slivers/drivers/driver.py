"""What a node manager asks of a sliver driver (docs/slivers.md, "Drivers").

A driver's slivers outlive the node manager: `list` finds them again after a restart. Its life-cycle methods run on the
node manager's event loop and never block it; `enter` is called from the front door's own threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Image:
    """A root file system that the node has (`dslice image`).

    Args:
        name: as the operator called it.
        digest: SHA-256 of its content, hexadecimal.
        root: its folder on this node.
    """

    name: str
    digest: str
    root: Path


@dataclass(frozen=True, slots=True)
class SliverSpec:
    """One sliver to make.

    Args:
        slice: the slice's name, which is also the login inside.
        slice_id: the registration's UUID; a driver remembers it, so that `list` can tell namesakes apart.
        hostname: name shown inside (no `_`: the kernel takes it, bwrap does not).
        memory_mb: ceiling in MiB.
        processes: ceiling of processes and threads.
        private_key: the slice's private key, OpenSSH format. Never logged, hence not in repr.
        public_key: its one-line public half.
        disk_mb: ceiling of its files, MiB; None: the node's own.
        cpu: its weight against other slivers, 1 to 10,000, 100 being an ordinary one's (cgroups(7), `cpu.weight`).
        image: what its root file system begins as; None: what stands on the node.
    """

    slice: str
    slice_id: UUID
    hostname: str
    memory_mb: int
    processes: int
    private_key: str = field(repr=False)
    public_key: str
    disk_mb: int | None = None
    cpu: int = 100
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened in a sliver and that its owner should hear of: a clause, as `its boot began`."""

    slice: str
    words: str


@dataclass(frozen=True, slots=True)
class Likeness:
    """What prepared slivers have before they are anybody's; the words are those of `SliverSpec`."""

    hostname: str
    memory_mb: int
    processes: int
    disk_mb: int | None = None
    image: Image | None = None

    @classmethod
    def of(cls, spec: SliverSpec) -> Self:
        return cls(spec.hostname, spec.memory_mb, spec.processes, spec.disk_mb, spec.image)


@dataclass(frozen=True, slots=True)
class Pty:
    """The terminal that an SSH client asked for (RFC 4254, 6.2)."""

    term: str
    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator allows slivers, where a driver can give it.

    Args:
        disk_reserve_mb: MiB of the node's disk that are promised to no sliver's.
        disk_overcommit: how many times the rest may be promised.
        user_namespaces: whether they may make user namespaces, and mount in these.
    """

    disk_reserve_mb: int = 256
    disk_overcommit: float = 1
    user_namespaces: bool = False


TERMS = Terms()

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Session(Protocol):
    """One running command inside a sliver.

    The file descriptors belong to the caller from now on, who closes them. With a terminal `stdin` and `stdout` are the
    one master side and `stderr` is None. `ended` becomes readable when the command ends.
    """

    @property
    def stdin(self) -> int: ...
    @property
    def stdout(self) -> int: ...
    @property
    def stderr(self) -> int | None: ...
    @property
    def pid(self) -> int: ...
    @property
    def ended(self) -> int: ...
    @property
    def fatal_signal(self) -> int | None:
        """The signal that ended the command, known after `wait`; None when it exited."""

    def resize(self, columns: int, rows: int) -> None:
        """Set the terminal's size; nothing without one."""

    def signal(self, number: int) -> None:
        """Send a signal to the process group of the command's first process; nothing once that has ended."""

    def kill(self) -> None:
        """SIGKILL to the command's first process, now."""

    def hangup(self) -> None:
        """SIGHUP to the process group, and SIGKILL a moment later to what stays. Safe twice and after the end."""

    def wait(self) -> int:
        """Block until the command ends: its exit status, 128 + N when signal N ended it."""


class Driver(Protocol):
    """The life of slivers on one node. Every failure that a caller can name is a `trust.errors.Refusal`."""

    @property
    def name(self) -> str:
        """`machine`, `bubblewrap`, `unshare`, `podman` or `simulated`."""

    @property
    def simulated(self) -> bool:
        """True when there is nothing to log in to; shown wherever the node is."""

    @property
    def quota(self) -> str:
        """How far a sliver's files are bounded: `hard` (the kernel stops at its disk's size), `watched` (it is stopped
        when the node's disk is full) or `none`."""

    @property
    def owed_mb(self) -> int:
        """MiB that disks of slivers' own may still take of the node's; prepared ones among them."""

    @property
    def taken_mb(self) -> int:
        """MiB that they have taken."""

    @property
    def images(self) -> bool:
        """Whether its slivers have a root file system of their own, which may begin as an image."""

    async def create(self, spec: SliverSpec) -> None:
        """Make and start the sliver. One that is there under the same slice_id stays as it is (but runs afterwards),
        as does one whose record is damaged: that is written anew. One under another slice_id is removed first, for the
        store has already let its lease go."""

    async def keep_ready(self, number: int, like: Likeness, room: Callable[[], bool]) -> None:
        """For as long as this is awaited, have so many slivers prepared for `create` to take, and none while there is
        no `room`."""

    async def start(self, slice: str) -> None:
        """Start a stopped sliver; nothing to do when it runs. Refusal(NOT_FOUND) when there is none."""

    async def stop(self, slice: str) -> None:
        """End all its processes and keep its files. Nothing to do when it is stopped or not there."""

    async def reset(self, slice: str) -> None:
        """Give it a fresh root file system, and start it if it ran. Its home and the slice's key stay.

        Refusal: NOT_FOUND when there is none; NOT_ALLOWED where slivers have no root file system of their own.
        """

    async def delete(self, slice: str) -> None:
        """Remove processes and files. Nothing to do when it is not there."""

    async def set_slice_key(self, slice: str, *, private_key: str, public_key: str) -> None:
        """Put another slice key pair in the place of the one given at creation (`svm rekey`)."""

    async def disk_kib(self, slice: str) -> int:
        """KiB that its user's files take on the disk. Refusal(TIMEOUT) when they are too many to be counted."""

    async def list(self) -> dict[str, UUID | None]:
        """Every sliver of this node that is there, running or not: slice name to slice_id, None where its record is
        damaged. `create` mends that one, for the sliver of whose lease it is called."""

    async def ended(self, slices: Collection[str]) -> Sequence[str]:
        """Which of these ended without being told to: the first process died, what is there is damaged or gone.

        One that `stop` ended is none of them, nor one that another call is at work on.
        """

    def enter(
        self,
        slice: str,
        argv: Sequence[str],
        *,
        pty: Pty | None,
        variables: Mapping[str, str] = NO_VARIABLES,
        control: int | None = None,
    ) -> Session:
        """Run `argv` inside. Blocking, from any thread.

        Args:
            argv: an empty one is the login shell.
            variables: of the environment, beside the fixed ones, which win. Programs outside see them too.
            control: a descriptor of ours that the command has as its descriptor 3; only without a terminal.

        Raises:
            Refusal: NOT_FOUND when there is no such running sliver; NOT_ALLOWED on a simulated node.
        """

    async def bound_memory(self) -> None:
        """One look at what slivers have in memory, where no control group bounds it; to be called every second."""

    async def news(self) -> Sequence[News]:
        """What has happened since this was last asked, each thing once, the oldest first."""

    async def end_holders(self, port: int) -> Sequence[str]:
        """End the processes inside slivers that hold a TCP port of this host; the slices whose they were."""

    def write_host_files(self, known_hosts: str, ssh_config: str, hosts: str) -> None:
        """Replace the three read-only files that every sliver sees as /etc/ssh/ssh_known_hosts and ssh_config, and as
        /etc/hosts."""
