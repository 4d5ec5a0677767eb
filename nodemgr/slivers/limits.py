"""A sliver's ceilings. rlimits always: per process, and processes per sliver (each has its own user namespace)."""

from __future__ import annotations

from nodemgr.slivers.launch import program

_OPEN_FILES = 1024
_MIB = 1 << 20


def rlimits(memory_mb: int, processes: int) -> tuple[str, ...]:
    """Command prefix that sets a session's rlimits.

    RLIMIT_DATA, not RLIMIT_AS: runtimes that reserve much address space and use little of it (Go, Java, Node) still
    run. No core files: nsenter, which ends as its child did, would leave one too.
    """
    data = memory_mb * _MIB
    limits = [f"--data={data}:{data}", f"--nproc={processes}:{processes}", f"--nofile={_OPEN_FILES}:{_OPEN_FILES}"]
    return (program("prlimit"), "--core=0:0", *limits, "--memlock=65536:65536", "--")
