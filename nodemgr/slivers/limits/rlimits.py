"""A sliver's ceilings by rlimits (getrlimit(2)): always, and alone where control groups cannot be written."""

from __future__ import annotations

_OPEN_FILES = 1024
_MIB = 1 << 20


def rlimits(memory_mb: int, processes: int) -> tuple[str, ...]:
    """Command prefix, inside the sliver, that sets a session's rlimits.

    Processes are counted per sliver: each has a user namespace of its own. RLIMIT_DATA, not RLIMIT_AS: runtimes that
    reserve much address space and use little of it (Go, Java, Node) still run. No core files. Set last, so that a
    sliver that is full of processes can still be entered by somebody who comes to kill them.
    """
    data = memory_mb * _MIB
    limits = [f"--data={data}:{data}", f"--nproc={processes}:{processes}", f"--nofile={_OPEN_FILES}:{_OPEN_FILES}"]
    return ("/usr/bin/prlimit", "--core=0:0", *limits, "--memlock=65536:65536", "--")
