"""What a sliver reads as /proc/meminfo: how much there is for it, not for the host.

It does not change: how much of it is taken is in /sys/fs/cgroup.
"""

from __future__ import annotations

from pathlib import Path

from rpc.files import replace_file

_ALL = ("MemTotal", "MemFree", "MemAvailable")
_NONE = ("Buffers", "Cached", "SwapCached", "Active", "Inactive", "SwapTotal", "SwapFree", "Dirty", "Writeback")
_NONE_TOO = ("AnonPages", "Mapped", "Shmem", "Slab", "SReclaimable", "SUnreclaim")


def meminfo(memory_mb: int) -> str:
    """proc(5), the fields that programs read."""
    fields = dict.fromkeys(_ALL, memory_mb << 10) | dict.fromkeys((*_NONE, *_NONE_TOO), 0)
    return "".join(f"{name + ':':<16}{kib:8} kB\n" for name, kib in fields.items())


def write_meminfo(folder: Path, memory_mb: int) -> Path:
    """The file, in a sliver's folder."""
    path = folder / "meminfo"
    replace_file(path, meminfo(memory_mb).encode(), 0o644, durable=False)
    return path
