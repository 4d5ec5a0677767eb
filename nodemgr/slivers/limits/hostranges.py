"""Which users of the host those of a sliver are, where each sliver has 65,536: every id inside is one outside, and none
of them is anybody's else.

A node manager claims blocks of such ranges as it needs them, for the whole machine: by links in `REGISTRY`, each to the
folder of the node manager that has it, so that two testbeds of root never give the same; a claim ends with its folder.

A node manager that is root by its subordinate ids alone (`ownids`) has one range, which all of its slivers share.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nodemgr.slivers.limits.hostuids import mapped
from nodemgr.slivers.process import ownids
from rpc.files import sync_folder
from trust.errors import Code, Refusal

IDS = ownids.IDS
REGISTRY = Path("/var/lib/dslice/host-ids")
# For containers (systemd's list of ids); above what people and useradd's subordinate ids take on most machines.
_ALL = range(0x00080000, 0x6FFF0000, IDS)
_BLOCK = 16  # ranges
_BLOCKS = len(_ALL) // _BLOCK
_SHARED = range(1, 1 + IDS, IDS)
_held: dict[tuple[Path, Path, int], int] = {}
"""What this process has claimed, by registry, folder and place."""


def _given() -> range:
    """Those that may be given here."""
    return _ALL if ownids.outside() is None else _SHARED


def root_of(uid: int) -> int:
    """The host user of the sliver's root, given that of any of its users; another host user is left alone."""
    return uid - (uid - _given().start) % IDS if is_ours(uid) else uid


def is_ours(uid: int | None) -> bool:
    """Whether a host user is of such a range."""
    return uid is not None and _given().start <= uid < _given().stop


def shared() -> int | None:
    """The root of all slivers, where they have one range together."""
    return None if ownids.outside() is None else _SHARED.start


@dataclass(frozen=True, slots=True)
class HostRanges:
    """The first ids of the ranges that the node manager of this state folder may give: those that it has claimed, and
    after them those that it claims when somebody asks for more. Refusal(INTERNAL) when none are left."""

    directory: Path
    registry: Path

    def __iter__(self) -> Iterator[int]:
        place = 0
        while True:
            block = _block(self.directory, self.registry, place) * _BLOCK
            yield from _ALL[block : block + _BLOCK]
            place += 1


def available(directory: Path, registry: Path = REGISTRY) -> Iterable[int]:
    """The first ids of those of this node manager.

    Raises:
        Refusal: INTERNAL when there can be none, and why.
    """
    if os.geteuid() != 0:
        raise Refusal(Code.INTERNAL, "slivers with a root of their own need root, or its user's subordinate ids")
    if (first := shared()) is not None:
        return itertools.repeat(first)
    if not mapped(Path("/proc/self/uid_map").read_text(encoding="ascii"), range(_ALL.start, _ALL.stop)):
        raise Refusal(
            Code.INTERNAL,
            "this container has too few user ids for slivers with a root of their own; see docs/slivers.md",
        )
    return HostRanges(directory.resolve(), registry)


def _block(directory: Path, registry: Path, place: int) -> int:
    """The number of this folder's block in that place. For one that is known, node managers do not wait for one another
    to look at all claims of the machine: every new sliver asks."""
    known = (registry, directory, place)
    if known not in _held or not _is_claim(registry / str(_held[known]), directory):
        _held[known] = _claim(directory, registry, place)
    return _held[known]


def _is_claim(claim: Path, directory: Path) -> bool:
    try:
        return os.readlink(claim) == str(directory)
    except OSError:
        return False


def _claim(directory: Path, registry: Path, place: int) -> int:
    """The number of this folder's block in that place, from now on or already: the first free one after that of its
    name."""
    registry.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(registry, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        claimed = {int(claim.name): Path(os.readlink(claim)) for claim in registry.iterdir()}
        wanted = zlib.crc32(os.fsencode(directory)) % _BLOCKS
        own = [number for number, folder in claimed.items() if folder == directory]
        own.sort(key=lambda number: (number - wanted) % _BLOCKS)
        if place < len(own):
            return own[place]
        for number in ((wanted + offset) % _BLOCKS for offset in range(_BLOCKS)):
            claim = registry / str(number)
            if not claim.exists():  # never claimed, or its folder is gone
                claim.unlink(missing_ok=True)
                claim.symlink_to(directory)
                sync_folder(registry)
                return number
    finally:
        os.close(lock)
    raise Refusal(
        Code.INTERNAL, f"other nodes have all host ids of this machine; remove what is not used in {registry}"
    )
