"""Leases on a line of time, as numbers that a template draws: a bar for each node, or for nodes alike. Pure.

Before now the line shows what happened, and idle gaps are squeezed; after now it is even, up to the last end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

WIDTH, LABEL = 1000, 150
"""Of the drawing, in its own units, and of the column with the nodes' names."""
ROW = 19
NOW_AT = (0.08, 0.35)
"""Where now stands, as a part of the line, at least and at most, unless a range is asked for."""
SQUEEZED = 16
"""How wide an idle gap is, and a gap is idle that would take a quarter of what is shown."""
IDLE = 0.25
BARS = 48
"""Above that many, nodes with the same state and end (to the minute) share a bar; and so many rows are drawn."""
LAST_DAY = timedelta(days=1)
MARKED = {"renew", "replace", "delete", "newvms"}
_STEPS = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400)
_TICKS_APART = 120


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the line: from one time to another, in seconds of the epoch, and from one x to another."""

    begin: float
    end: float
    x0: float
    x1: float
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Where times stand on the line; what lies outside stands at its edge."""

    pieces: tuple[Piece, ...]

    def x(self, moment: float) -> float:
        """Rounded to a tenth."""
        if moment <= self.pieces[0].begin:
            return self.pieces[0].x0
        for piece in self.pieces:
            if moment <= piece.end:
                part = (moment - piece.begin) / (piece.end - piece.begin)
                return round(piece.x0 + part * (piece.x1 - piece.x0), 1)
        return self.pieces[-1].x1


@dataclass(slots=True)
class Bar:
    """One row; `marks` are (x, kind, text).

    `ending` is where its last day, or last fifth, begins; None when autorenew goes on.
    """

    label: str
    state: str
    count: int
    x0: float
    x1: float
    end: str
    renew: float | None
    ending: float | None
    marks: list[tuple[float, str, str]] = field(default_factory=list)


def timeline(
    found: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]] = (),
    begin: datetime | None = None,
    end: datetime | None = None,
    *,
    failed: bool = False,
    most: int = BARS,
) -> dict[str, Any]:
    """What a template draws of a slice (as svmd tells it) and its history between these times.

    `failed`: only nodes with a last error, an end in the past or a failure in `events`.
    """
    now = datetime.fromisoformat(found["now"])
    told = [event for event in events if event.get("node") and event["type"] in ("node", "step")]
    bad = {event["node"] for event in told if event.get("ok") is False}
    slivers = [each for each in found["slivers"] if each["expires_at"]]
    if failed:
        slivers = [s for s in slivers if s["last_error"] or s["state"] == "expired" or s["node"] in bad]
    scale = _scale(slivers, told, now, found["leaselen"], begin, end)
    bars = _bars(slivers, found, scale, most)
    _mark(bars, told, scale)
    shown = bars[:most]
    return {
        "width": WIDTH,
        "label": LABEL,
        "row": ROW,
        "height": ROW * (len(shown) + 1) + 8,
        "bars": [asdict(bar) for bar in shown],
        "left_out": sum(bar.count for bar in bars[most:]),
        "now": scale.x(now.timestamp()),
        "ticks": _ticks(scale, scale.x(now.timestamp())),
        "gaps": [(piece.x0, piece.x1, _length(piece.end - piece.begin)) for piece in scale.pieces if piece.idle],
        "begin": _iso(scale.pieces[0].begin),
        "end": _iso(scale.pieces[-1].end),
    }


def _scale(
    slivers: Sequence[Mapping[str, Any]],
    told: Sequence[Mapping[str, Any]],
    now: datetime,
    leaselen: int,
    begin: datetime | None,
    end: datetime | None,
) -> Scale:
    past = sorted({_seconds(event["at"]) for event in told} | {_seconds(each["changed_at"]) for each in slivers})
    at = now.timestamp()
    ends = [_seconds(each["expires_at"]) for each in slivers]
    first = begin.timestamp() if begin else min(past, default=at - leaselen / 2)
    last = end.timestamp() if end else max([at + leaselen / 20, *ends])
    first = min(first, at - 60) if begin is None else first
    last = max(last, first + 60)
    if begin is not None or end is not None or not first < at < last:
        moments = [moment for moment in (*past, *ends, at) if first < moment < last]
        return Scale(tuple(_pieces(first, last, sorted(set(moments)), LABEL, WIDTH)))
    past = [moment for moment in past if first < moment < at]
    part = min(NOW_AT[1], max(NOW_AT[0], (at - first) / (last - first)))
    middle = round(LABEL + (WIDTH - LABEL) * part, 1)
    return Scale((*_pieces(first, at, past, LABEL, middle), Piece(at, last, middle, WIDTH)))


def _pieces(first: float, last: float, moments: Sequence[float], x0: float, x1: float) -> list[Piece]:
    """From `first` to `last`; what lies between two moments far apart is idle and narrow."""
    edges = [first, *moments, last]
    gaps = [(a, b, b - a > IDLE * (last - first) and len(edges) > 2) for a, b in pairwise(edges)]
    gaps = [gap for gap in gaps if gap[1] > gap[0]]
    if all(idle for _, _, idle in gaps):
        gaps = [(a, b, False) for a, b, _ in gaps]
    busy = sum(b - a for a, b, idle in gaps if not idle)
    room = x1 - x0 - SQUEEZED * sum(idle for _, _, idle in gaps)
    pieces, x = [], x0
    for a, b, idle in gaps:
        width = SQUEEZED if idle else room * (b - a) / busy
        pieces.append(Piece(a, b, round(x, 1), round(x + width, 1), idle))
        x += width
    return pieces


def _bars(slivers: Sequence[Mapping[str, Any]], found: Mapping[str, Any], scale: Scale, most: int) -> list[Bar]:
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for each in slivers:
        apart = len(slivers) <= most or each["last_error"]
        alike.setdefault((each["state"], each["node"] if apart else each["expires_at"][:16]), []).append(each)
    return [_bar(group, found, scale) for group in alike.values()]


def _bar(group: Sequence[Mapping[str, Any]], found: Mapping[str, Any], scale: Scale) -> Bar:
    first = group[0]
    end, length = _seconds(first["expires_at"]), found["leaselen"]
    renewed = bool(found["autorenew"]) and first["state"] in ("leased", "running", "stopped")
    until = found.get("autorenew_until") or found.get("standing_until")
    goes_on = renewed and (not until or _seconds(until) > end)
    held = first["state"] in ("leased", "running", "stopped", "expired")
    begin = end - length if held else _seconds(first["changed_at"])
    last_day = end - min(LAST_DAY.total_seconds(), length / 5)
    return Bar(
        label=first["node"] if len(group) == 1 else f"{len(group):,} nodes",
        state=first["state"],
        count=len(group),
        x0=scale.x(begin),
        x1=scale.x(end),
        end=first["expires_at"],
        renew=scale.x(_seconds(first["renew_at"])) if renewed and first["renew_at"] else None,
        ending=None if goes_on or not held else scale.x(last_day),
    )


def _mark(bars: Sequence[Bar], told: Iterable[Mapping[str, Any]], scale: Scale) -> None:
    """What happened at nodes that have a row of their own."""
    by_node = {bar.label: bar for bar in bars}
    begin, end = scale.pieces[0].begin, scale.pieces[-1].end
    for event in told:
        bar, at = by_node.get(event["node"]), _seconds(event["at"])
        ok = event.get("ok")
        if bar is None or not begin <= at <= end or (ok is not False and event.get("kind") not in MARKED):
            continue
        kind = "bad" if ok is False else "again" if ok is None else "good"
        text = f"{event.get('kind') or event['type']}: {event.get('reason') or 'done'}"
        bar.marks.append((scale.x(at), kind, text))


def _ticks(scale: Scale, now: float) -> list[tuple[float, str]]:
    """(x, text) of round times, UTC, far enough apart to be read, beside each other and beside `now`."""
    ticks: list[tuple[float, str]] = []
    for piece in scale.pieces:
        if piece.idle or piece.x1 - piece.x0 < 1:
            continue
        per_second = (piece.x1 - piece.x0) / (piece.end - piece.begin)
        step = next((s for s in _STEPS if s * per_second >= _TICKS_APART), _STEPS[-1])
        at = (piece.begin // step + 1) * step
        while at < piece.end:
            x = scale.x(at)
            apart = not ticks or x - ticks[-1][0] >= _TICKS_APART * 0.8
            if apart and x < WIDTH - _TICKS_APART / 3 and not now - _TICKS_APART < x < now:
                moment = datetime.fromtimestamp(at, UTC)
                ticks.append((x, f"{moment:%d %b}" if step >= _STEPS[-3] else f"{moment:%d %b %H:%M}"))
            at += step
    return ticks


def _length(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:.1f} d" if hours >= 48 else f"{hours:.1f} h" if hours >= 1 else f"{seconds / 60:.0f} min"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
