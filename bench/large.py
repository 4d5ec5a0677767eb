"""Large testbeds: their start, what they take at rest, and what users read, beside a small one = 1.0.

Of each the nodes are simulated, and one slice has all of them.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence

from sqlalchemy import Engine, text

from bench.tools import processes
from bench.tools.contenders import TOLD, Arena
from bench.tools.scale import full
from bench.tools.stage import Stage, testbed
from bench.tools.tables import Cell, Table
from bench.workers import waited

QUICK, FULL = (100, 1000), (100, 2000, 5000)
REST = 30  # seconds: three advertisements of each node
ROUNDS = 5
PATIENCE = 600  # seconds
WINDOW = "512"
NAME = "large"
READ = {
    "svm getads": ("getads",),
    "svm status": ("status", NAME),
    "svm nodelist": ("nodelist", NAME),
    "svm slices": ("slices",),
    "svm history": ("history", NAME),
}
UNDER_WAY = text("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL")
Figures = dict[str, float | None]  # None: it failed


def main() -> Sequence[Table]:
    sizes = FULL if full() else QUICK
    found = [figures(size) for size in sizes]
    rows: list[Sequence[Cell]] = []
    for name in found[0]:
        first, *others = (each[name] for each in found)
        rows.append((name, first, *others, *(other / first if first and other else None for other in others)))
    head = ("", *(f"{size} nodes" for size in sizes), *(f"{size} ÷ {sizes[0]}" for size in sizes[1:]))
    return [Table("large", f"Testbeds of simulated nodes; medians of {ROUNDS} commands", head, rows)]


def figures(size: int) -> Figures:
    """All of one testbed."""
    with tempfile.TemporaryDirectory() as folder, testbed(folder, "--nodes", "0", "--simulated", str(size)) as stage:
        time.sleep(TOLD)
        arena = Arena.of(stage, REST)
        found: Figures = {"dslice up, s": stage.seconds}
        for part in ("agent", "nodes"):
            found[f"{part} at rest, % of a core"] = arena.rest[part] / 10
        found["svm getads, ms"] = timed(stage, *READ["svm getads"])
        created = timed(stage, "-p", WINDOW, "createslice", str(stage.slice_file(NAME, size)), rounds=1)
        found["svm createslice, s"] = created and created / 1000
        found["svm getads just after, ms"] = timed(stage, *READ["svm getads"], rounds=1)
        time.sleep(TOLD)
        found |= {f"{name}, ms": timed(stage, *words) for name, words in READ.items() if name != "svm getads"}
        return found | round_of_reconcile(arena, size) | memory(arena)


def timed(stage: Stage, *words: str, rounds: int = ROUNDS) -> float | None:
    """Milliseconds of one command from its start to its end, the median of some; None when one fails."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        if stage.svm(*words, check=False).returncode:
            return None
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def round_of_reconcile(arena: Arena, size: int) -> Figures:
    """The next round in which beat has all nodes asked and compared: its seconds, and the CPU of the service manager's
    parts and of the nodes, without what they take at rest."""
    database = arena.stage.database()
    waited(lambda: not _running(database), PATIENCE)
    waited(lambda: _running(database), PATIENCE)
    before, began = processes.cpu(arena.pids), time.perf_counter()
    waited(lambda: not _running(database), PATIENCE)
    after, took = processes.cpu(arena.pids), time.perf_counter() - began
    database.dispose()
    cpu = {part: (after[part] - before[part] - arena.rest[part] * took) / size for part in before}
    ours = sum(cpu[part] for part in processes.OURS if part != processes.CLIENT)
    return {"reconcile, s": took, "reconcile, CPU ms a node": ours, "the nodes then, CPU ms a node": cpu["nodes"]}


def _running(database: Engine) -> bool:
    with database.connect() as connection:
        return connection.scalar(UNDER_WAY) is not None


def memory(arena: Arena) -> Figures:
    """MiB: the peak of the agent, svmd and worker, and what each of them and all simulated nodes have now: of what the
    daemons of a testbed share, some 100 MiB, each its part."""
    of = {part: arena.pids[part] for part in ("agent", "svmd", "worker", "nodes")}
    peaks: Figures = {f"{part} at most, MiB": processes.peak(pids) for part, pids in of.items() if part != "nodes"}
    return peaks | {f"{part}, MiB": found for part, found in processes.memory(of).items()}
