"""Which users of the host those of a sliver are, where each sliver has 65,536: every id inside is one outside, and none
of them is anybody's else.

A node manager has a block of such ranges. Blocks are claimed for the whole machine by links in `REGISTRY`, each to the
folder of the node manager that has it, so that two testbeds of root never give the same; a claim ends with its folder.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from pathlib import Path

from nodemgr.slivers.limits.hostuids import mapped
from rpc.files import sync_folder
from trust.errors import Code, Refusal

IDS = 1 << 16
REGISTRY = Path("/var/lib/dslice/host-ids")
# For containers (systemd's list of ids); above what people and useradd's subordinate ids take on most machines.
_ALL = range(0x00080000, 0x6FFF0000, IDS)
_BLOCK = 256  # ranges
_BLOCKS = len(_ALL) // _BLOCK


def root_of(uid: int) -> int:
    """The host user of the sliver's root, given that of any of its users; another host user is left alone."""
    return uid - uid % IDS if is_ours(uid) else uid


def is_ours(uid: int | None) -> bool:
    """Whether a host user is of such a range."""
    return uid is not None and _ALL.start <= uid < _ALL.stop


def available(directory: Path, registry: Path = REGISTRY) -> range:
    """The first ids of the ranges that the node manager of this state folder may give.

    Raises:
        Refusal: INTERNAL when there are none, and why.
    """
    if os.geteuid() != 0:
        raise Refusal(Code.INTERNAL, "slivers with a root of their own need a node manager that runs as root")
    if not mapped(Path("/proc/self/uid_map").read_text(encoding="ascii"), range(_ALL.start, _ALL.stop)):
        raise Refusal(
            Code.INTERNAL,
            "this container has too few user ids for slivers with a root of their own; see docs/slivers.md",
        )
    first = _claim(directory.resolve(), registry) * _BLOCK
    return _ALL[first : first + _BLOCK]


def _claim(directory: Path, registry: Path) -> int:
    """The number of this folder's block, from now on or already: the first free one after that of its name."""
    registry.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(registry, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = zlib.crc32(os.fsencode(directory)) % _BLOCKS
        order = [(wanted + number) % _BLOCKS for number in range(_BLOCKS)]
        claims = {number: registry / str(number) for number in order}
        for number, claim in claims.items():
            if claim.is_symlink() and Path(os.readlink(claim)) == directory:
                return number
        for number, claim in claims.items():
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
