"""One chart of createslice as SVG: seconds against nodes for each contender, and against -p for 512 nodes."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.tools.tables import Table

WIDTH, HEIGHT = 860, 400
LEFT, TOP, ACROSS, DOWN, APART = 60, 60, 330, 270, 90
COLOURS = {"limit": "#8a8f98", "2003": "#c2571a", "svm": "#1b62a5"}
NAMES = {"limit": "limit: bare asyncio, keeps nothing", "2003": "2003: 16 threads, a connection a call", "svm": "svm"}
LATENCY, SWEPT = 50, 512  # milliseconds; nodes of the slices whose -p is varied

Lines = Mapping[str, Sequence[tuple[float, float]]]


def drawn(tables: Sequence[Table], where: Mapping[str, str]) -> str:
    """The whole picture."""
    runs = [run for table in tables if table.name == "createslice" for run in table.raw]
    runs = [run for run in runs if run["latency"] == LATENCY]
    by_nodes = lines(best(runs), "nodes")
    by_window = lines([run for run in runs if run["nodes"] == SWEPT and run["contender"] != "2003"], "window")
    across = ACROSS if swept(by_window) else 2 * ACROSS + APART
    style = "text{font:12px sans-serif;fill:#57606a}polyline{fill:none;stroke-width:2}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>',
        *panel(by_nodes, LEFT, across, f"createslice: seconds by nodes, {LATENCY} ms each"),
        *panel(by_window, LEFT + ACROSS + APART, ACROSS, f"{SWEPT} nodes, {LATENCY} ms each: seconds by -p"),
    ]
    for number, (contender, name) in enumerate(NAMES.items()):
        parts.append(text(LEFT + 250 * number, HEIGHT - 28, name, COLOURS[contender]))
    said = f"{where.get('date', '')}; {where.get('processor', '')}; load {where.get('load', '')}"
    return "\n".join([*parts, text(LEFT, HEIGHT - 8, said), "</svg>\n"])


def best(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each size the runs with the window that its tables have: 16, all of 64, or 512."""
    return [run for run in runs if run["window"] == (16 if run["nodes"] == 8 else min(512, run["nodes"]))]


def lines(runs: Sequence[Mapping[str, Any]], by: str) -> Lines:
    """Medians of the seconds of each contender."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        found[run["contender"]][run[by]].append(run["seconds"])
    return {name: [(x, statistics.median(ys)) for x, ys in sorted(of.items())] for name, of in found.items()}


def swept(found: Lines) -> bool:
    """Whether there is a line to draw: two places on it at least."""
    return len({x for line in found.values() for x, _ in line}) > 1


def panel(found: Lines, left: float, across: float, title: str) -> list[str]:
    """Both axes logarithmic, a mark at each power of ten and each measured x."""
    if not swept(found):
        return []
    points = [point for line in found.values() for point in line]
    xs = sorted({x for x, _ in points})
    low, high = (math.floor(math.log10(min(y for _, y in points))), math.ceil(math.log10(max(y for _, y in points))))
    wide = math.log10(xs[-1] / xs[0])

    def place(x: float) -> float:
        return left + across * math.log10(x / xs[0]) / wide

    def down(y: float) -> float:
        return TOP + DOWN * (high - math.log10(y)) / max(high - low, 1)

    parts = [text(left, TOP - 20, title, "#1f2328")]
    for power in range(low, high + 1):
        y = down(10.0**power)
        parts.append(f'<path d="M{left:.0f} {y:.1f}h{across}" stroke="#d0d7de"/>')
        parts.append(text(left - 8, y + 4, f"{10.0**power:g} s", anchor="end"))
    parts += [text(place(x), TOP + DOWN + 18, f"{x:g}", anchor="middle") for x in xs]
    for contender, line in found.items():
        where = " ".join(f"{place(x):.1f},{down(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{where}" stroke="{COLOURS[contender]}"/>')
        parts += [
            f'<circle cx="{place(x):.1f}" cy="{down(y):.1f}" r="3" fill="{COLOURS[contender]}"/>' for x, y in line
        ]
    return parts


def text(x: float, y: float, words: str, colour: str = "#57606a", anchor: str = "start") -> str:
    """One line of words."""
    kept = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{colour}">{kept}</text>'
