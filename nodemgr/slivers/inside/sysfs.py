"""What a sliver sees of /sys beside its control group: the processors that it may use, and the node's network
interfaces, which are its own, too. The kernel's files, read-only; nothing else of /sys is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from nodemgr.slivers.inside.view import Bind
from rpc.files import replace_file

_PROCESSORS = Path("/sys/devices/system/cpu")
_INTERFACES = Path("/sys/class/net")
_MOST_INTERFACES = 16  # a host of containers has one for each


def shown(folder: Path) -> Iterator[Bind]:
    """In the order in which it is mounted.

    Args:
        folder: the sliver's, for a list of processors that is shorter than the host's.
    """
    if _PROCESSORS.is_dir():
        yield Bind(_PROCESSORS, str(_PROCESSORS))
        usable = listed(os.sched_getaffinity(0))
        if (_PROCESSORS / "online").read_text(encoding="ascii").strip() != usable:
            replace_file(folder / "processors", f"{usable}\n".encode(), 0o644, durable=False)
            yield Bind(folder / "processors", str(_PROCESSORS / "online"))
    names = sorted(os.listdir(_INTERFACES)) if _INTERFACES.is_dir() else []
    for name in names[:_MOST_INTERFACES]:
        # Each is a link to where its device is, which is not there inside.
        device = Path(os.path.realpath(_INTERFACES / name))
        if device.is_dir():
            yield Bind(device, str(_INTERFACES / name))


def listed(processors: Iterable[int]) -> str:
    """`0-3,6`: as the kernel lists processors (cpuset(7), "List format")."""
    runs: list[list[int]] = []
    for number in sorted(processors):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
