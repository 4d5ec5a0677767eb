"""What the processes of a testbed use: CPU of each with all its children, memory; from /proc (proc(5))."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from testbed import control
from testbed.home import Home

PROC = Path("/proc")
TICK = 1_000 / os.sysconf("SC_CLK_TCK")  # milliseconds
# Names of the parts by the role that `dslice ps` shows.
PARTS = {
    "svmd": "svmd",
    "worker": "worker",
    "broker": "Valkey",
    "database": "PostgreSQL",
    "flower": "Flower",
    "agent": "agent",
    "nodemgr": "nodes",
}
OTHER = "other"  # plc, beat, mail
DATABASE, THEIRS = "PostgreSQL", "PostgreSQL for agent, plc"  # the second: of the first, the sessions of these two
CLIENT = "client"  # svm, or what takes its place
# Those that the service manager is made of.
OURS = (CLIENT, "svmd", "worker", "Valkey", "PostgreSQL", "Flower")

Stats = Mapping[int, tuple[int, float]]  # by pid: its parent, and CPU milliseconds of it and of its ended children


def parts(home: Home) -> dict[str, list[int]]:
    """The processes of each part, without their children."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in control.ask(home, "ps")["processes"]:
        if row["pid"]:
            found[PARTS.get(str(row["role"]), OTHER)].append(int(row["pid"]))
    return dict(found)


def cpu(pids: Mapping[str, Iterable[int]], proc: Path = PROC) -> dict[str, float]:
    """CPU milliseconds of each part so far."""
    stats = _stats(proc)
    found = {part: sum(stats[pid][1] for pid in _family(roots, stats) if pid in stats) for part, roots in pids.items()}
    if DATABASE in found:
        sessions = (pid for pid in _family(pids[DATABASE], stats) if _is_theirs(proc, pid))
        found[THEIRS] = sum(stats[pid][1] for pid in sessions)
        found[DATABASE] -= found[THEIRS]
    return found


def memory(pids: Mapping[str, Iterable[int]], proc: Path = PROC) -> dict[str, float]:
    """MiB of each part now; a page that processes share counts once among them."""
    stats = _stats(proc)
    return {part: sum(_pss(proc, pid) for pid in _family(roots, stats)) / 1024 for part, roots in pids.items()}


def peak(pids: Iterable[int], proc: Path = PROC) -> float:
    """MiB that the largest of these processes had at its most, pages that it shares included."""
    return max((_kib(proc / str(pid) / "status", "VmHWM") for pid in pids), default=0.0) / 1024


def forget_peaks(pids: Mapping[str, Iterable[int]]) -> None:
    """Count peaks from here on."""
    for roots in pids.values():
        for pid in roots:
            (PROC / str(pid) / "clear_refs").write_text("5")


def _stats(proc: Path) -> Stats:
    found = {}
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            found[int(folder.name)] = int(fields[1]), sum(int(field) for field in fields[11:15]) * TICK
    return found


def _family(roots: Iterable[int], stats: Stats) -> set[int]:
    """These processes and all that descend from them."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, (parent, _) in stats.items():
        children[parent].append(pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        found.add(pid)
        todo += children[pid]
    return found


def _is_theirs(proc: Path, pid: int) -> bool:
    """A process of PostgreSQL's says for whom it works: `postgres: agent dslice [local] idle`."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().split()
    except OSError:
        return False
    return words[:2] in ([b"postgres:", b"agent"], [b"postgres:", b"plc"])


def _pss(proc: Path, pid: int) -> float:
    return _kib(proc / str(pid) / "smaps_rollup", "Pss")


def _kib(file: Path, name: str) -> float:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0.0)
