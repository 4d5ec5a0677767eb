"""createslice as a user sees it, from the start of the command to its end, beside the limit = 1.0 and 2003.

Three contenders in turns on one testbed of simulated nodes (`bench/tools/contenders.py`), medians of several rounds:
bare asyncio and aiohttp, which keeps nothing; 16 threads with a new connection for each call; and svm, which loses
nothing. CPU is counted by part until the agent has heard of everything, without what each part takes at rest.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from bench.tools.contenders import CONTENDERS, Arena, Case, FailedError, Run
from bench.tools.processes import CLIENT, OURS, THEIRS
from bench.tools.scale import full
from bench.tools.stage import testbed
from bench.tools.tables import Cell, Table

REST = 20  # seconds that a testbed is looked at before: two advertisements of each node
ROUNDS = 3
LONG = 30  # seconds: what takes longer by its latency alone is run once
QUICK = (
    Case(8, 0, 16),
    Case(8, 50, 16),
    Case(8, 1000, 16),
    Case(64, 50, 64),
    Case(512, 0, 256),
    Case(512, 50, 512),
    Case(512, 1000, 1000),
)
SWEEP = tuple(Case(512, 50, window) for window in (1, 4, 16, 64, 256, 1024))  # 2003 knew no -p
FULL = (
    *QUICK,
    *SWEEP,
    Case(64, 0, 64),
    Case(2000, 0, 512),
    Case(2000, 50, 512),
    Case(5000, 0, 512),
    Case(5000, 50, 512),
)
PARTS = (*OURS, "agent", THEIRS, "nodes")
DAEMONS = tuple(part for part in PARTS if part not in (CLIENT, THEIRS))


def main() -> Sequence[Table]:
    return tables(list(measured(FULL if full() else QUICK)))


def tables(runs: Sequence[Run]) -> Sequence[Table]:
    """Times with ratios, CPU a node by part, memory by part."""
    return [times(runs), used(runs), occupied(runs)]


def measured(cases: Iterable[Case]) -> Iterator[Run]:
    """All runs; the cases of one testbed share it."""
    wanted = sorted(set(cases), key=lambda case: (testbed_size(case), case.nodes, case.latency, case.window))
    for size in sorted({testbed_size(case) for case in wanted}):
        with (
            tempfile.TemporaryDirectory() as folder,
            testbed(folder, "--nodes", "0", "--simulated", str(size)) as stage,
        ):
            arena = Arena.of(stage, REST)
            for case in wanted:
                if testbed_size(case) == size:
                    stage.slow(case.latency)
                    yield from fought(arena, case)


def fought(arena: Arena, case: Case) -> Iterator[Run]:
    """The contenders in turns, so that other load on the machine hits all of them; each round another goes first."""
    for number in range(ROUNDS):
        first = number % len(CONTENDERS)
        for contender in (*CONTENDERS[first:], *CONTENDERS[:first]):
            if contender == "2003" and case in SWEEP:
                continue
            if number == 0 or at_least(contender, case) < LONG:
                try:
                    run = arena.run(contender, case)
                except FailedError as failed:  # the others go on; what is missing is missing in the table
                    print(f"  {case}: {contender} failed: {failed}", file=sys.stderr)
                    continue
                print(f"  {case}: {contender} {run.seconds:.1f} s", file=sys.stderr)
                yield run


def testbed_size(case: Case) -> int:
    """Nodes of the testbed that a case runs on: small slices on one of 512."""
    return max(512, case.nodes)


def at_least(contender: str, case: Case) -> float:
    """Seconds that two calls to each node take by the latency alone."""
    side_by_side = 16 if contender == "2003" else case.window
    return 2 * case.latency / 1000 * -(-case.nodes // side_by_side)


def times(runs: Sequence[Run]) -> Table:
    """Seconds of each contender."""
    rows: list[Sequence[Cell]] = []
    for case, found in by_case(runs).items():
        base, old, svm = (median(found[contender], lambda run: run.seconds) for contender in CONTENDERS)
        p99 = median(found["svm"], lambda run: run.p99 or 0.0)
        rows.append((str(case), base, old, svm, ratio(svm, base), ratio(old, svm), p99))
    head = ("nodes, latency, -p", "limit s", "2003 s", "svm s", "svm ÷ limit", "2003 ÷ svm", "node p99 s")
    title = f"createslice, medians of {ROUNDS} interleaved rounds"
    return Table("createslice", title, head, rows, [asdict(run) for run in runs])


def used(runs: Sequence[Run]) -> Table:
    """CPU milliseconds a node."""
    rows: list[Sequence[Cell]] = []
    for case, found in by_case(runs).items():
        for contender in (one for one in CONTENDERS if found[one]):
            parts = {part: median(found[contender], lambda run: run.cpu[part] / run.nodes) for part in PARTS}  # noqa: B023 called at once
            ours = sum(parts[part] or 0.0 for part in OURS)
            rows.append((str(case), contender, ours, *parts.values()))
    return Table("createslice", "CPU, ms a node", ("nodes, latency, -p", "", "first six", *PARTS), rows)


def occupied(runs: Sequence[Run]) -> Table:
    """MiB by part, the most of all rounds of svm."""
    rows: list[Sequence[Cell]] = []
    for case, found in by_case(runs).items():
        parts = [max(run.memory.get(part, 0.0) for run in found["svm"]) for part in DAEMONS]
        rows.append((str(case), *parts))
    title = "Memory beside svm, MiB (one process: its peak; PostgreSQL and nodes: all of them, at the end)"
    return Table("createslice", title, ("nodes, latency, -p", *DAEMONS), rows)


def median(runs: Sequence[Run], of: Callable[[Run], float]) -> float | None:
    """Of one figure over the runs; None without any."""
    return statistics.median(map(of, runs)) if runs else None


def ratio(one: float | None, other: float | None) -> float | None:
    """Of two figures, where both were measured."""
    return one / other if one and other else None


def by_case(runs: Iterable[Run]) -> Mapping[Case, Mapping[str, list[Run]]]:
    """Runs of each contender by case, in the order of the cases' sizes."""
    found: dict[Case, dict[str, list[Run]]] = {}
    for run in runs:
        case = Case(run.nodes, run.latency, run.window)
        found.setdefault(case, {contender: [] for contender in CONTENDERS})[run.contender].append(run)
    return dict(sorted(found.items(), key=lambda item: (item[0].nodes, item[0].latency, item[0].window)))
