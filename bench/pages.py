"""Pages of `svm web` and `dslice web` about 5,000 nodes and 100 slices, against the same about 50 nodes and 10.

plc, an agent and svmd are servers in this process that have their answers ready in memory; their part, which is to
write them as JSON and to send them through TLS, is in the figures.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bench.tools.tables import Table
from tests.unit.web.large import OPERATION, Client, Large, operators, users

ROUNDS = 5
SMALL, LARGE = (50, 10), (5000, 100)
OF_A_SLICE = ["/slices", "/slices/big", "/slices/big?show=all", "/slices/big/history", f"/operations/{OPERATION}"]
USERS = [*OF_A_SLICE, "/nodes", "/nodes?only=free"]
OPERATORS = [*OF_A_SLICE, "/nodes", "/nodes?only=silent", "/usage?by=node"]
Kind = Callable[[Large, Path], AbstractContextManager[Client]]
COLUMNS = ("", "ms", "ms CPU", "kB", "ratio of CPU")


def main() -> Sequence[Table]:
    found: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def client(kind: Kind, nodes: int, slices: int) -> Client:
            own = folder / f"{kind.__name__}-{nodes}"
            own.mkdir()
            return stack.enter_context(kind(Large(nodes, slices), own))

        asked = [
            (f"{program} {path.replace(OPERATION, 'ID')}", path, small, large)
            for program, kind, paths in (("svm web", users, USERS), ("dslice web", operators, OPERATORS))
            for small, large in [(client(kind, *SMALL), client(kind, *LARGE))]
            for path in paths
        ]
        for _ in range(ROUNDS):  # small and large in turns, so that other load hits both
            for name, path, small, large in asked:
                found.setdefault((name, "small"), []).append(drawn(small, path))
                found.setdefault((name, "large"), []).append(drawn(large, path))
    rows = [_row(name, found[name, "small"], found[name, "large"]) for name, *_ in asked]
    return [Table("pages", f"a page of 5,000 nodes, 100 slices; median of {ROUNDS}", COLUMNS, rows)]


def _row(
    name: str, small: Sequence[tuple[float, float, int]], large: Sequence[tuple[float, float, int]]
) -> tuple[str, float, float, float, float]:
    wall, used, size = (statistics.median(column) for column in zip(*large, strict=True))
    base = statistics.median(used for _, used, _ in small)
    return name, wall * 1000, used * 1000, size / 1000, used / base


def drawn(client: Client, path: str) -> tuple[float, float, int]:
    """Seconds, seconds of a processor (all threads), and bytes of one page."""
    begun, used = time.perf_counter(), time.process_time()
    status, text = client.get(path)
    assert status == 200, text
    return time.perf_counter() - begun, time.process_time() - used, len(text.encode())
