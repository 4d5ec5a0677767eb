"""A sliver of each driver made anew, beside bubblewrap's = 1.0; and what 200 machines on one node take of memory.

As root, for the drivers that this machine can run. Memory: the processes of each sliver by their proportional share
(PSS), and all that its control group is charged with.
"""

import asyncio
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.tools.scale import full
from bench.tools.tables import Cell, Table
from nodemgr.slivers.drivers.choice import open_driver
from nodemgr.slivers.drivers.driver import Driver, SliverSpec
from nodemgr.slivers.process.processes import members, namespace
from trust.errors import Refusal
from trust.sshkeys import new_ssh_key_pair

ROUNDS = 15
DISK_MB = 256
KINDS = {"bubblewrap": None, "machine": None, "machine with a disk": DISK_MB, "unshare": None}
CROWD = 200 if full() else 40
CHANGED = ["/bin/sh", "-c", "head -c 1M /dev/urandom >~/changed; sync ~/changed"]
PAIR = new_ssh_key_pair("bench")
SPEC = SliverSpec("s1", uuid.UUID(int=0), "n1", 256, 256, *PAIR)


def main() -> Sequence[Table]:
    if os.geteuid() != 0:
        print("  needs root")
        return []
    with tempfile.TemporaryDirectory(prefix="dslice-bench-") as folder:
        return [asyncio.run(made(Path(folder, "made"))), *asyncio.run(crowd(Path(folder, "crowd")))]


async def made(folder: Path) -> Table:
    """Milliseconds until a sliver that nobody has prepared can be entered, and until it is gone."""
    drivers: dict[str, Driver] = {}
    for kind in KINDS:
        try:
            drivers[kind] = open_driver(kind.split()[0], folder / kind.replace(" ", "-"))
        except Refusal as refusal:
            print(f"  {kind}: {refusal.reason}")
    took: dict[str, list[tuple[float, float]]] = {kind: [] for kind in drivers}
    for number in range(ROUNDS + 1):  # in turns, so that other load on the machine hits all of them
        for kind, driver in drivers.items():
            spec = _spec(number, KINDS[kind])
            began = time.perf_counter()
            await driver.create(spec)
            made_at = time.perf_counter()
            await driver.delete(spec.slice)
            if number:  # the first makes templates
                took[kind].append((made_at - began, time.perf_counter() - made_at))
    base = statistics.median(create for create, _ in took.get("bubblewrap", took[min(took)]))
    rows: list[list[Cell]] = []
    for kind, pairs in took.items():
        creates, deletes = ([each[column] for each in pairs] for column in (0, 1))
        middle = statistics.median(creates)
        rows.append([kind, middle * 1000, max(creates) * 1000, statistics.median(deletes) * 1000, middle / base])
    title = f"A sliver made anew and deleted, milliseconds, median of {ROUNDS} in turns"
    return Table("slivers", title, ("", "made", "slowest", "deleted", "against bubblewrap"), rows)


async def crowd(folder: Path) -> list[Table]:
    """Memory of many machines with a root file system of their own, each with 1 MB changed."""
    rows: list[list[Cell]] = []
    for kind, disk_mb in (("machine", None), ("machine with a disk", DISK_MB)):
        try:
            driver = open_driver("machine", folder / kind.replace(" ", "-"))
        except Refusal as refusal:
            print(f"  {refusal.reason}")
            return []
        specs = [_spec(number, disk_mb) for number in range(CROWD)]
        try:
            for spec in specs:
                await driver.create(spec)
                await asyncio.to_thread(_change, driver, spec.slice)
            shares = [_pss(driver, spec.slice) for spec in specs]
            charged = [_charged(driver, spec.slice) for spec in specs]
            rows.append(
                [kind, CROWD, *(each(found) / 1024 for found in (shares, charged) for each in (statistics.mean, max))]
            )
        finally:
            for spec in specs:
                await driver.delete(spec.slice)
    title = "Machines on one node, 1 MB changed in each: MiB of each"
    return [Table("slivers", title, ("", "machines", "PSS", "largest", "charged", "largest"), rows)]


def _spec(number: int, disk_mb: int | None) -> SliverSpec:
    return replace(SPEC, slice=f"s{number}", slice_id=uuid.uuid4(), disk_mb=disk_mb)


def _change(driver: Driver, slice: str) -> None:
    session = driver.enter(slice, CHANGED, pty=None)
    try:
        assert session.wait() == 0, f"nothing was changed in {slice}"
    finally:
        for descriptor in {session.stdin, session.stdout, session.stderr or session.stdout, session.ended}:
            os.close(descriptor)


def _pss(driver: Driver, slice: str) -> int:
    """KiB of the sliver's processes, and of the one outside that waits for its first."""
    keeper = driver._existing(slice)[0].keeper()  # type: ignore[attr-defined]
    inside = namespace(keeper.pid, "pid")
    parent = int(Path(f"/proc/{keeper.pid}/stat").read_text().rpartition(")")[2].split()[1])
    return sum(_pss_of(pid) for pid in {*members(inside or ""), parent} - {1, os.getpid()})


def _pss_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _charged(driver: Driver, slice: str) -> int:
    """KiB that its control group has, pages of its files and the kernel's own for it among them; 0 without groups."""
    groups = driver._cgroups  # type: ignore[attr-defined]
    if groups is None:
        return 0
    file = "memory.current" if groups.version == 2 else "memory.usage_in_bytes"
    return int((groups.places["memory"] / slice / file).read_text()) >> 10
