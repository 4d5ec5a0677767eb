"""Memory over ten rounds of createslice and deleteslice: after the last beside after the second = 1.0.

The first round fills what is filled once (imports, connections, caches); nothing should grow from then on.
"""

import tempfile
import time
from collections.abc import Sequence

from bench.tools import processes
from bench.tools.contenders import TOLD
from bench.tools.scale import full
from bench.tools.stage import testbed
from bench.tools.tables import Cell, Table

ROUNDS = 10
PARTS = ("svmd", "worker", "Valkey", "PostgreSQL", "Flower", "agent", "nodes")


def main() -> Sequence[Table]:
    size = 2000 if full() else 256
    found = measured(size)
    rows: list[Sequence[Cell]] = [
        (part, *(found[number][part] for number in (0, 1, 4, 9)), found[9][part] / found[1][part]) for part in PARTS
    ]
    head = ("MiB", "round 1", "round 2", "round 5", "round 10", "10 ÷ 2")
    return [Table("rounds", f"Memory after each round of createslice and deleteslice on {size} nodes", head, rows)]


def measured(size: int) -> list[dict[str, float]]:
    """MiB by part after each round."""
    with tempfile.TemporaryDirectory() as folder, testbed(folder, "--nodes", "0", "--simulated", str(size)) as stage:
        pids, found = processes.parts(stage.home), []
        for number in range(ROUNDS):
            stage.svm("-p", "512", "createslice", str(stage.slice_file(f"round{number}", size)))
            stage.svm("-p", "512", "deleteslice", f"round{number}")
            time.sleep(TOLD)
            found.append(processes.memory(pids))
    return found
