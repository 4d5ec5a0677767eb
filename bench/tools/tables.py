"""Figures as tables: for the terminal, for docs/performance.md, and as JSON."""

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Table:
    """One table of figures.

    Args:
        name: of the benchmark.
        title: what was measured, with its units.
        head: of each column.
        rows: cells; None where nothing was measured.
        raw: what the rows were made of, for the JSON file and the chart.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    raw: Sequence[Mapping[str, Any]] = field(default=())

    def text(self) -> str:
        """For a terminal."""
        lines = [self.head, *([shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        ruled = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
        return "\n".join(f"  {line}" for line in (self.title, *ruled))

    def markdown(self) -> str:
        """For a page."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        lines = [self.head, rule, *([shown(cell) for cell in row] for row in self.rows)]
        return "\n".join([f"{self.title}:", "", *(f"| {' | '.join(line)} |" for line in lines)])


def shown(cell: Cell) -> str:
    """A figure with as many digits as mean something."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"


def machine() -> dict[str, str]:
    """Where and when: what a reader needs to judge figures by."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} × {_processor()}",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "ten million additions": f"{_additions():.2f} s",
        "load": _load(),
    }


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def written(tables: Iterable[Table], before: Mapping[str, str]) -> str:
    """All of a run, as JSON; `before` is the machine at its start."""
    found = {"machine": {**before, "load at the end": _load()}, "tables": [asdict(one) for one in tables]}
    return json.dumps(found, indent=1)


def read(file: Path) -> tuple[list[Table], dict[str, str]]:
    """What `written` wrote."""
    found = json.loads(file.read_text())
    return [Table(**{**one, "head": tuple(one["head"])}) for one in found["tables"]], found["machine"]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]


def _additions() -> float:
    """Seconds of CPU that they take: machines of one name differ, and one machine from hour to hour."""
    began, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return time.process_time() - began


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
