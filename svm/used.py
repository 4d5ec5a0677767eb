"""Totals of what slivers were granted and used, as a table, JSON lines or CSV; for `svm usage` and `dslice usage`."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from svm.columns import stamp, table
from svm.output import json_line, line, say

if TYPE_CHECKING:
    from plc.client.usage import Total

HOUR = 3600


def show(
    by: str, since: datetime, until: datetime, totals: "Sequence[Total]", *, as_json: bool, as_csv: bool = False
) -> None:
    """Hours with two digits; seconds in JSON."""
    if as_json:
        for one in totals:
            json_line("row", {"by": by, **asdict(one), "since": since.isoformat(), "until": until.isoformat()})
        return
    heads = [by, *(["owner"] if by == "slice" else []), "granted_hours", "used_hours"]
    rows = [_cells(by, one) for one in totals]
    if as_csv:
        for row in (heads, *rows):
            line(_csv(row))
        return
    if rows:
        table([head.upper().replace("_", " ") for head in heads], rows)
    granted, used = (sum(getattr(one, name) for one in totals) for name in ("granted", "used"))
    say(f"{granted / HOUR:.2f} sliver-hours granted, {used / HOUR:.2f} used, {stamp(since)} to {stamp(until)}")


def _cells(by: str, one: "Total") -> list[str]:
    whose = [one.owner] if by == "slice" else []
    return [one.of or "-", *whose, f"{one.granted / HOUR:.2f}", f"{one.used / HOUR:.2f}"]


def _csv(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()
