"""A sliver's ceilings by rlimits (getrlimit(2)) and, where control groups cannot be written, by what is left then."""

from __future__ import annotations

import math

from nodemgr.slivers.limits.cgroups import Ceilings

_OPEN_FILES = 1024
ORDINARY_NICE = 10  # of a sliver; the node manager has 0
_FIRST_TO_GO = 500  # when the host runs out of memory (proc(5), oom_score_adj)


def rlimits(ceilings: Ceilings, *, grouped: bool) -> tuple[str, ...]:
    """Command prefix, inside the sliver, that sets a session's limits.

    Processes are counted per sliver: each has a user namespace of its own. Nothing bounds address space: runtimes
    reserve much of it and use little (Java, Go, Node). No core files. Set last, so that a sliver that is full of
    processes can still be entered by somebody who comes to kill them.

    Args:
        grouped: whether a control group bounds its memory and weighs its processors.
    """
    count = f"--nproc={ceilings.processes}:{ceilings.processes}"
    files = f"--nofile={_OPEN_FILES}:{_OPEN_FILES}"
    limits = ("/usr/bin/prlimit", "--core=0:0", count, files, "--memlock=65536:65536", "--")
    if grouped:
        return limits
    return ("/usr/bin/nice", "-n", str(nice(ceilings.cpu)), "/usr/bin/choom", "-n", str(_FIRST_TO_GO), "--", *limits)


def nice(weight: int) -> int:
    """Where there are no weights: a step of nice(2) is a factor of 1.25. Above 0, for the node manager goes first."""
    return min(19, max(1, ORDINARY_NICE - round(math.log(weight / 100, 1.25))))
