"""The same keeper without bubblewrap: util-linux's unshare, and a program of our own that does what bwrap does.

For hosts without bwrap. The program (`nodemgr/slivers/process/build.py`) runs on the Python that slivers are given.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from nodemgr.slivers.drivers.driver import TERMS, Terms
from nodemgr.slivers.drivers.keeper import KeeperDriver
from nodemgr.slivers.inside.etc import python
from nodemgr.slivers.inside.view import PYTHON, SHM_BYTES, Bind, Entry, Symlink, Tmpfs
from nodemgr.slivers.process import build
from nodemgr.slivers.process.launch import KEEPER, NAMELESS, STAGES, program
from nodemgr.slivers.process.spawn import run_helper
from trust.errors import Code, Refusal


class UnshareDriver(KeeperDriver):
    """Slivers whose namespaces unshare(1) makes, for hosts without bubblewrap."""

    name = "unshare"
    tools = ("unshare", "nsenter", "setpriv", "prlimit", "setsid", "mount", "pivot_root")

    def __init__(self, directory: Path, terms: Terms = TERMS) -> None:
        run_helper([*python(), "-c", "import ctypes"], "this node's Python has no ctypes; install python3 as a whole")
        super().__init__(directory, terms)

    def keeper_command(self, hostname: str, view: Sequence[Entry], *, nameless: bool) -> list[str]:
        return unshare_command(hostname, view, nameless=nameless)


def unshare_command(hostname: str, view: Sequence[Entry], *, nameless: bool = False) -> list[str]:
    """The unshare command line of a keeper; the program comes with it as one argument."""
    apart = ["--user", "--map-root-user", "--mount", "--propagation", "private", "--pid", "--fork"]
    apart += ["--ipc", "--uts", "--cgroup", "--"]
    words = [word for entry in view for word in _words(entry)]
    first = ["open", *NAMELESS] if nameless else ["close", *KEEPER]
    here = next((str(entry.source) for entry in view if isinstance(entry, Bind) and entry.target == PYTHON), None)
    built = [*python(here), "-c", _program(), _new_root(view), hostname, str(SHM_BYTES), *words, "--", *first]
    return [program("unshare"), *apart, *built]


@functools.cache
def _program() -> str:
    return Path(build.__file__).read_text(encoding="utf-8")


def _new_root(view: Sequence[Entry]) -> str:
    """A folder that every host has and that hides no source of the view when something is mounted on it."""
    sources = [entry.source for entry in view if isinstance(entry, Bind)]
    for stage in STAGES:
        if os.path.isdir(stage) and not any(source.is_relative_to(stage) for source in sources):
            return stage
    raise Refusal(Code.INTERNAL, f"this host has none of {', '.join(STAGES)} free to build a sliver's root in")


def _words(entry: Entry) -> list[str]:
    match entry:
        case Bind(source, target, writable):
            return ["rw" if writable else "ro", str(source), target]
        case Tmpfs(target, size, mode):
            return ["tmpfs", target, str(size), f"{mode:o}"]
        case Symlink(source, target):
            return ["link", source, target]
