"""Starting a keeper: the first process of a sliver, which outlives the node manager.

The program that makes the namespaces (bwrap or unshare) is started in a session of its own and orphaned, writes the
keeper's pid to descriptor 3, and the keeper says `ready` once nothing of the host is visible to it any more: before
that nobody may enter. No --die-with-parent: that signal comes when the spawning *thread* ends.
"""

from __future__ import annotations

import functools
import json
import os
import select
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from nodemgr.slivers.inside.etc import SLEEP
from nodemgr.slivers.inside.view import NAMELESS_HOME, Bind, Entry
from nodemgr.slivers.process.processes import KEEPER_VARIABLE, PROC, Process, start_time
from nodemgr.slivers.process.spawn import HELPER_ENVIRONMENT, open_pipe, spawn
from trust.errors import Code, Refusal

START_SECONDS = 20

# PID 1 of a sliver: ignoring SIGCHLD makes the kernel reap every orphan, so that sleep is a whole init.
KEEPER = (
    "/bin/sh",
    "-c",
    f"echo ready; exec /usr/bin/env --ignore-signal=CHLD {SLEEP} infinity </dev/null >/dev/null 2>&1",
)

# PID 1 of a prepared sliver: it keeps the rights over its namespaces until it reads its slice's name, gives the home
# its place, and ends as `KEEPER` does. Nobody is inside before that. When its node manager dies it reads no name, and
# the sliver ends.
NAMELESS = (
    "/bin/sh",
    "-c",
    f"""
echo ready
read -r slice mark || exit
set -e
mkdir "/home/$slice"
mount -n --move {NAMELESS_HOME} "/home/$slice"
rmdir {NAMELESS_HOME}
ln -s "/home/$slice" /root
mount -n -o remount,bind,ro,nosuid,nodev /
echo ready
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- \\
    env --ignore-signal=CHLD "{KEEPER_VARIABLE}=$mark" {SLEEP} infinity </dev/null >/dev/null 2>&1
""",
)

# $1 is a folder that every user can reach; the folders of the sliver are shown below it, in a mount namespace that only
# this command has, so that a keeper without root's rights finds them although the node manager's home is 0700.
_STAGE = """
set -e
stage=$1 places=$2 folders=$3; shift 3
mount -n -t tmpfs -o mode=755,size=64k,nosuid,nodev dslice "$stage"
mkdir $folders
for place in $places; do [ -d $place ] || : >$place; mount -n --bind "$1" "$place"; shift; done
shift
exec "$@"
"""
STAGES = ("/mnt", "/media", "/srv", "/tmp")  # noqa: S108 a mount point, in a private mount namespace


@functools.cache
def program(name: str) -> str:
    """Absolute path of one of the host's own tools, never looked for in a user's PATH."""
    path = shutil.which(name, path=HELPER_ENVIRONMENT["PATH"])
    if path is None:
        packages = "bubblewrap, e2fsprogs, runc, uidmap, util-linux"
        raise Refusal(Code.INTERNAL, f"this node has no {name}; install it (Debian: {packages}) and try again")
    return path


def as_host_user(host_uid: int | None) -> list[str]:
    """Command prefix that becomes the sliver's host uid and gives up every right for good; empty for our own uid."""
    if host_uid is None:
        return []
    ids = [f"--reuid={host_uid}", f"--regid={host_uid}", "--clear-groups"]
    return [program("setpriv"), *ids, "--bounding-set=-all", "--inh-caps=-all", "--"]


def staged(view: Sequence[Entry], host_uid: int | None) -> tuple[list[str], list[Entry]]:
    """Command prefix, and the view as it looks after it, with which `host_uid` can reach every folder of the view."""
    own = [entry for entry in view if isinstance(entry, Bind) and _ours(entry.source)]
    if host_uid is None:
        return [], list(view)
    sources = list(dict.fromkeys(entry.source for entry in own))
    stage = next(s for s in STAGES if os.path.isdir(s) and not any(p.is_relative_to(s) for p in sources))
    places = {source: Path(stage) / str(number) for number, source in enumerate(sources)}
    moved = [replace(e, source=places[e.source]) if isinstance(e, Bind) and e.source in places else e for e in view]
    private = [program("unshare"), "--mount", "--propagation", "private", "--", "/bin/sh", "-c", _STAGE, "sh", stage]
    folders = [str(place) for source, place in places.items() if not source.is_file()]
    words = [" ".join(map(str, places.values())), " ".join(folders), *map(str, sources), "--"]
    return [*private, *words, *as_host_user(host_uid)], moved


@dataclass(frozen=True, slots=True)
class Nameless:
    """A first process that runs `NAMELESS`, and our ends of its standard streams, which `streams` closes."""

    process: Process
    stdin: int
    stdout: int
    streams: ExitStack

    def call(self, slice: str, mark: str) -> None:
        """Tell it whose it is. OSError when it is gone."""
        os.write(self.stdin, f"{slice} {mark}\n".encode())

    def settle(self) -> None:
        """Wait until it is a keeper like any other. Refusal(INTERNAL) when it does not become one."""
        with self.streams:
            _require_ready(self.stdout)
        when_settled(self.process.pid)


Before = Callable[[int], None]


def launch(argv: Sequence[str], mark: str, filter: bytes = b"", before: Before | None = None) -> Process:
    """Start a keeper and return it once it is ready to be entered.

    Args:
        argv: what makes the namespaces and ends in `KEEPER`; it writes {"child-pid": N} to descriptor 3.
        mark: stands in its environment (`first_processes`).
        filter: of system calls, which all of the sliver's first processes are under.
        before: is called with that pid, and then it reads a line.

    Raises:
        Refusal: INTERNAL with the command's own words when the keeper did not start.
    """
    with ExitStack() as ours:
        pid, _, _ = _started(argv, mark, filter, before, ours)
    return when_settled(pid)


def launch_nameless(argv: Sequence[str], mark: str, filter: bytes = b"", before: Before | None = None) -> Nameless:
    """The same for an `argv` that ends in `NAMELESS`."""
    with ExitStack() as ours:
        pid, stdin, stdout = _started(argv, mark, filter, before, ours)
        return Nameless(Process.of(pid), stdin, stdout, ours.pop_all())


def _started(
    argv: Sequence[str], mark: str, filter: bytes, before: Before | None, ours: ExitStack
) -> tuple[int, int, int]:
    """The pid of a first process that has said `ready`, and where it reads and says more: descriptors, closed with
    `ours`."""
    command = [program("setsid"), "--fork", *argv]
    environment = HELPER_ENVIRONMENT | {KEEPER_VARIABLE: mark}
    out_read, out_write = os.pipe()
    ours.callback(os.close, out_read)
    with ExitStack() as short, ExitStack() as theirs:
        theirs.callback(os.close, out_write)
        stdin, told = open_pipe(theirs, ours)
        info_read, info_write = open_pipe(short, theirs)
        streams = {0: stdin, 1: out_write, 2: out_write, 3: info_write}
        pid = spawn(command, environment, streams, session=True, filter=filter)
        theirs.close()
        os.waitpid(pid, 0)
        first = _first_pid(info_read, out_read)
        if before:
            before(first)
            os.write(told, b"\n")
        _require_ready(out_read)
        return first, told, out_read


def _first_pid(info: int, out: int) -> int:
    """What the keeper, or what makes it, tells of its pid. Refusal(INTERNAL) with what it said instead."""
    told = b""
    while b"}" not in told:  # bwrap writes it in pieces
        chunk = _read(info, START_SECONDS)
        if not chunk:
            raise _not_started(_read(out, 0))
        told += chunk
    return int(json.loads(told)["child-pid"])


def _read(descriptor: int, seconds: float) -> bytes:
    """What comes within so long; empty when nothing does, or no more will."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return os.read(descriptor, 4096) if poller.poll(seconds * 1000) else b""


def when_settled(pid: int) -> Process:
    """The keeper, once it is the program that it stays: only then is nothing of the host in sight any more, and nobody
    who enters can take hold of it. Refusal(INTERNAL) when that is not so within START_SECONDS."""
    end = time.monotonic() + START_SECONDS
    while words(pid)[:2] != [SLEEP.encode(), b"infinity"]:
        if time.monotonic() > end or start_time(pid) is None:
            raise Refusal(Code.INTERNAL, "the sliver's first process did not start; see the node's log")
        time.sleep(0.001)
    return Process.of(pid)


def words(pid: int) -> list[bytes]:
    """The command line of a process; empty when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _require_ready(descriptor: int) -> None:
    """Refusal(INTERNAL), with what it said instead, unless the word comes within START_SECONDS."""
    said = b""
    end = time.monotonic() + START_SECONDS
    while not said.endswith(b"ready\n"):
        chunk = _read(descriptor, max(0, end - time.monotonic()))
        if not chunk:
            break
        said += chunk
    if not said.endswith(b"ready\n"):
        raise _not_started(said)


def _not_started(said: bytes) -> Refusal:
    words = said.decode(errors="replace").strip()[-300:]
    return Refusal(Code.INTERNAL, f"the sliver's first process did not start: {words or 'no answer'}")


def _ours(source: Path) -> bool:
    """Whether a source is the node manager's own folder, not the system's, which everybody can reach."""
    return not any(
        source.is_relative_to(system) for system in ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/sys")
    )
