"""Slivers that are only said to be there: for runs and demos with hundreds of nodes in one process.

What a sliver is, one file `SLICE@UUID` in the driver's folder, survives the process, as real slivers do. It is empty
while the sliver runs, and says so when it was stopped.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nodemgr.slivers.drivers.driver import NO_VARIABLES, Likeness, News, Pty, Session, SliverSpec
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.sshkeys import parse_public_key

STOPPED = "stopped"


def simulated_host_key(node: Identity, ca_pem: str) -> str:
    """The public host key that a node without a front door advertises: the same at each start, as a real one is.

    Nobody can log in, so that nothing of it has to be secret, or kept.
    """
    key = Ed25519PrivateKey.from_private_bytes(sha256(f"{ca_pem}\n{node}".encode()).digest()).public_key()
    return parse_public_key(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()).line


@dataclass(slots=True)
class SimulatedDriver:
    """Implements `nodemgr.slivers.drivers.driver.Driver` on a folder.

    Args:
        directory: made when absent.
        latency: seconds that making, stopping or removing a sliver takes; may be changed while it runs.
        failing: reason with which every change is refused, None for none; may be changed while it runs.
        model: an empty file whose further names the slivers are. Without it each is a file of its own, which costs the
            file system forty times as much (docs/adr/0056-five-thousand-simulated-nodes.md).
    """

    directory: Path
    latency: float = 0
    failing: str | None = None
    model: Path | None = None
    name: str = field(default="simulated", init=False)
    simulated: bool = field(default=True, init=False)
    quota: str = field(default="none", init=False)
    owed_mb: int = field(default=0, init=False)
    taken_mb: int = field(default=0, init=False)
    images: bool = field(default=True, init=False)  # as good as any other

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def create(self, spec: SliverSpec) -> None:
        await self._change()
        for path in self._paths(spec.slice):
            if path != self._path(spec.slice, spec.slice_id):
                path.unlink(missing_ok=True)
        self._run(self._path(spec.slice, spec.slice_id))

    async def keep_ready(self, number: int, like: Likeness, room: Callable[[], bool]) -> None:
        """A file is made as fast as it is renamed."""

    async def start(self, slice: str) -> None:
        self._find(slice)
        for path in self._paths(slice):
            self._run(path)

    async def stop(self, slice: str) -> None:
        await self._change()
        for path in self._paths(slice):
            fresh = self.directory.with_name(f"{self.directory.name}.new")  # what is there may be the model
            fresh.write_text(STOPPED)
            fresh.replace(path)

    async def reset(self, slice: str) -> None:
        if slice not in await self.list():
            raise Refusal(Code.NOT_FOUND, f"no sliver of {slice} is on this node")

    async def delete(self, slice: str) -> None:
        await self._change()
        for path in self._paths(slice):
            path.unlink(missing_ok=True)

    async def set_slice_key(self, slice: str, *, private_key: str, public_key: str) -> None:
        del private_key, public_key
        self._find(slice)

    async def ended(self, slices: Collection[str]) -> Sequence[str]:
        """A simulated sliver ends when its file goes."""
        there = {name.partition("@")[0] for name in os.listdir(self.directory)}
        return [slice for slice in slices if slice not in there]

    async def disk_kib(self, slice: str) -> int:
        self._find(slice)
        return 0

    async def list(self) -> dict[str, UUID | None]:
        names = (path.name.partition("@") for path in self.directory.iterdir())
        return {slice: UUID(slice_id) for slice, _, slice_id in names}

    def enter(
        self,
        slice: str,
        argv: Sequence[str],
        *,
        pty: Pty | None,
        variables: Mapping[str, str] = NO_VARIABLES,
        control: int | None = None,
    ) -> Session:
        del argv, pty
        raise Refusal(Code.NOT_ALLOWED, f"{slice} is on a simulated node, where nobody can log in; take a real one")

    async def bound_memory(self) -> None:
        """Nothing runs."""

    async def news(self) -> Sequence[News]:
        return ()

    async def end_holders(self, port: int) -> Sequence[str]:
        del port
        return ()

    def write_host_files(self, known_hosts: str, ssh_config: str, hosts: str) -> None:
        """Nobody would read them."""

    async def _change(self) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.failing is not None:
            raise Refusal(Code.INTERNAL, self.failing)

    def _run(self, path: Path) -> None:
        if self.model is not None and not path.exists():
            with suppress(OSError):  # it is gone, or has as many names as a file can have
                os.link(self.model, path)
                return
        path.write_text("")

    def _path(self, slice: str, slice_id: UUID) -> Path:
        return self.directory / f"{slice}@{slice_id}"

    def _paths(self, slice: str) -> Sequence[Path]:
        # Not by glob(), which took an eighth of a call's time to compile its pattern.
        names = [name for name in os.listdir(self.directory) if name.partition("@")[0] == slice]
        return tuple(self.directory / name for name in names)

    def _find(self, slice: str) -> None:
        if not self._paths(slice):
            raise Refusal(Code.NOT_FOUND, f"there is no sliver of {slice} on this node")
