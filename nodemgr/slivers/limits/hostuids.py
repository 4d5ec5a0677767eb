"""Which user of the host a sliver's root is.

As root every sliver gets a host uid of its own: one that mapped its root to the host's could write what only uid 0 may
write in /proc/sys, and two that shared a uid would own one another's files. A node manager that is a plain user has one
uid to give; its slivers share it and only their namespaces part them (README and docs say so).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path

from nodemgr.slivers.process import ownids
from trust.errors import Code, Refusal

# Unused by distributions (systemd's list of ids: 1879048192–2147483647); a container may not have it mapped.
_PREFERRED = range(0x70000000, 0x7FFF0000)
# In a container with the usual 65,536 ids: above people, below dynamic users.
_FALLBACK = range(30_000, 60_000)
_BLOCK = 1_000


def mapped(uid_map: str, wanted: range) -> bool:
    """Whether all of `wanted` exists in this user namespace, given the text of /proc/self/uid_map."""
    for line in uid_map.splitlines():
        first, _outside, count = (int(word) for word in line.split())
        if first <= wanted.start and wanted.stop <= first + count:
            return True
    return False


def available(directory: Path) -> range | None:
    """The block of host uids that the node manager of this state folder may give; None as a plain user.

    Two testbeds of root on one machine take different blocks (by their folders' names), so that a uid is one sliver's.

    Raises:
        Refusal: INTERNAL when a sliver's root would be the host's own.
    """
    if os.geteuid() != 0 or ownids.outside() is not None:
        return None
    uid_map = Path("/proc/self/uid_map").read_text(encoding="ascii")
    for ids in (_PREFERRED, _FALLBACK):
        if mapped(uid_map, ids):
            blocks = len(ids) // _BLOCK
            first = ids.start + zlib.crc32(os.fsencode(directory.resolve())) % blocks * _BLOCK
            return range(first, first + _BLOCK)
    if os.access("/proc/sys/kernel/core_pattern", os.W_OK):
        raise Refusal(
            Code.INTERNAL, "this is the host's root without another uid to give; run the node as a plain user"
        )
    return None


def first_free(ids: Iterable[int], taken: Collection[int]) -> int:
    """The first uid that no sliver of this node has. Refusal(OVER_CAPACITY) when all are taken."""
    for uid in ids:
        if uid not in taken:
            return uid
    raise Refusal(Code.OVER_CAPACITY, f"all {len(taken)} host users for slivers are taken; delete slivers first")
