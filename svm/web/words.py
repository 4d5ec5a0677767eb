"""Times, counts and commands as the pages show them: filters of the templates. Pure but for the machine's time zone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from markupsafe import Markup, escape

from svm.columns import left
from svm.output import command
from trust.errors import printable
from trust.needs import words as needs

LEASE_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def when(text: str | None, seconds: bool = False) -> Markup:
    """A time in UTC, and in local time where that is another; to the minute, or to the second."""
    if not text:
        return Markup("–")
    moment = datetime.fromisoformat(text)
    utc, local = moment.astimezone(UTC), moment.astimezone()
    said = f"{utc:%Y-%m-%d %H:%M:%S} UTC" if seconds else f"{utc:%Y-%m-%d %H:%M} UTC"
    if local.utcoffset() != utc.utcoffset():
        said += f" ({local:%H:%M %Z})" if local.date() == utc.date() else f" ({local:%d %b %H:%M %Z})"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), exact(text), said)


def exact(text: str) -> str:
    """A time to the second, in UTC and local time."""
    moment = datetime.fromisoformat(text)
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC · {moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def remaining(text: str | None, now: str, leaselen: int) -> Markup:
    """The time left until `text`, as `svm expirations --table` says it; marked where that has it in red."""
    if not text:
        return Markup("–")
    styled = left(datetime.fromisoformat(text), datetime.fromisoformat(now), leaselen)
    plain = click.unstyle(styled)
    kind = "soon" if styled != plain else "time"
    return Markup('<span class="{}" title="{}">{}</span>').format(kind, exact(text), plain)


def lasting(seconds: int) -> str:
    """Seconds in the largest unit that divides them: `14 days`."""
    for size, name in LEASE_UNITS:
        if seconds % size == 0 and seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count != 1 else ''}"
    return f"{seconds} seconds"


def number(count: int) -> str:
    """`4,998`."""
    return f"{count:,}"


def hours(seconds: int) -> str:
    """`1,204.50`."""
    return f"{seconds / 3600:,.2f}"


def outcome(operation: Mapping[str, Any]) -> str:
    """How an operation stands, in a word."""
    return str(operation.get("outcome") or "running")


def typed(*words: str) -> str:
    """The command of `svm` that does the same."""
    return command(*words)


def short(text: str, most: int = 80) -> str:
    """Foreign text in one line, at most so long."""
    shown = printable(text, None)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def ucfirst(text: str) -> str:
    """As a sentence begins; the rest stays."""
    return text[:1].upper() + text[1:]


def linked(text: str, name: str) -> Markup:
    """A cure in which `svm watch NAME` and the like can be read as commands."""
    shown = escape(printable(text, None))
    for verb in ("watch", "heal", "renewslice", "delegate", "autorenew", "deleteslice", "newvms", "rekey", "history"):
        for words in ((verb, name, "on"), (verb, name)):
            wanted = escape(command(*words))
            if wanted in shown:
                shown = Markup(str(shown).replace(wanted, f"<code>{wanted}</code>"))  # noqa: S704 - both are escaped
                break
    return shown


FILTERS = {
    "needs": needs,
    "when": when,
    "exact": exact,
    "remaining": remaining,
    "lasting": lasting,
    "number": number,
    "hours": hours,
    "outcome": outcome,
    "linked": linked,
    "short": short,
    "ucfirst": ucfirst,
}
