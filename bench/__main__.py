"""`python -m bench [NAME…]`: the benchmarks, each with its baseline. Without a name all of them run."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench.tools.chart import drawn
from bench.tools.scale import VARIABLE
from bench.tools.tables import Table, machine, read, written

KEPT = Path(".bench")  # git passes over it
TERMINATED = 143  # exit status


def names() -> list[str]:
    """Modules of this folder that have a `main`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # what was started ends, too
    if options.list:
        for name in options.name or names():
            print(f"{name}: {_about(name)}")
        return
    if options.full:
        os.environ[VARIABLE] = "1"
    if options.again:
        tables, where = read(options.again)
        _show(tables, where, markdown=options.markdown)
    else:
        tables, where = _run(options.name or names(), options.json, markdown=options.markdown)
    if options.chart:
        options.chart.write_text(drawn(tables, where))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*names(), []], help="which to run")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--full", action="store_true", help="all sizes, however long it takes")
    parser.add_argument("--json", type=Path, help=f"where to write the figures (default: {KEPT}/TIME.json)")
    parser.add_argument("--markdown", action="store_true", help="tables as docs/performance.md has them")
    parser.add_argument("--chart", type=Path, metavar="SVG", help="draw the times of createslice")
    parser.add_argument("--again", type=Path, metavar="JSON", help="show an earlier run instead of running")
    return parser.parse_args()


def _run(wanted: Sequence[str], file: Path | None, *, markdown: bool) -> tuple[list[Table], dict[str, str]]:
    """One benchmark after the other; what there is by then is kept after each."""
    where, tables = machine(), list[Table]()
    file = file or KEPT / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        print(f"{name}: {_about(name)}", flush=True)
        tables += import_module(f"bench.{name}").main() or ()
        file.write_text(written(tables, where))
        _show([table for table in tables if table.name == name], None, markdown=markdown)
    print(f"figures: {file}")
    return tables, where


def _show(tables: Sequence[Table], where: dict[str, str] | None, *, markdown: bool) -> None:
    if where:
        print("; ".join(f"{name}: {value}" for name, value in where.items()))
    for table in tables:
        print(f"\n{table.markdown() if markdown else table.text()}", flush=True)


def _about(name: str) -> str:
    return (import_module(f"bench.{name}").__doc__ or "").strip().splitlines()[0]


main()
