"""Tables as plain text: columns as wide as their contents, the last one cut at the terminal's edge."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from svm.output import line
from trust.errors import printable

DAY = 86_400


def table(heads: Sequence[str], found: Iterable[Sequence[str]]) -> None:
    """Print rows under `heads`. Cells may be styled; widths count what is seen."""
    rows = [list(heads), *(list(row) for row in found)]
    widths = [max(len(click.unstyle(row[column])) for row in rows) for column in range(len(heads))]
    edge = _edge() if sys.stdout.isatty() else 0
    for row in rows:
        *first, last = row
        text = "".join(
            cell + " " * (width + 2 - len(click.unstyle(cell))) for cell, width in zip(first, widths, strict=False)
        )
        room = edge - len(click.unstyle(text)) - 1
        line((text + (printable(last, room) if edge and room > 0 and len(last) > room else last)).rstrip())


def _edge() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def left(end: datetime | None, now: datetime, leaselen: int) -> str:
    """The time left until `end` in two units: `13 d 4 h`; `over` when past.

    Red under a day, and under a fifth of a lease of `leaselen` seconds where that is less: a lease of an hour is no
    worry while it is young.
    """
    if end is None:
        return "-"
    seconds = int((end - now).total_seconds())
    if seconds <= 0:
        return click.style("over", fg="red")
    days, hours, minutes = seconds // DAY, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    text = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
    return click.style(text, fg="red") if seconds < min(DAY, leaselen / 5) else text


def stamp(moment: datetime | None) -> str:
    """A time in the howto's form: `2003-03-05 23:11:01 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "-"
