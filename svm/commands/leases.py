"""renewslice and expirations: how long a slice still lives."""

from datetime import datetime
from typing import Any

import click

from svm.arguments import SLICE
from svm.columns import left, stamp, table
from svm.flags import current, flags
from svm.output import json_line, line, say
from svm.request import Request
from svm.retry import same_again
from svm.session import ask, connect


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def renewslice(name: str) -> int:
    """Renew the leases of a slice.

    Each lease is replaced by one that begins now, of the length in the slice file.
    """
    given = current()
    return ask(Request("renewslice", name), lambda failures: same_again(given, failures))


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.option("--table", "as_table", is_flag=True, help="The time left, soonest first; red when little is left.")
@flags
def expirations(name: str, as_table: bool) -> None:
    """List when each lease of a slice ends."""
    found = connect().slice(name)
    ends = [(each["node"], datetime.fromisoformat(each["expires_at"])) for each in found["slivers"] if _leased(each)]
    if current().json:
        for node, end in ends:
            json_line("row", {"slice": name, "node": node, "expires_at": end.isoformat()})
    elif as_table:
        now = datetime.fromisoformat(found["now"])
        ends.sort(key=lambda pair: pair[1])
        rows = [(node, stamp(end), left(end, now, found["leaselen"])) for node, end in ends]
        table(("NODE", "EXPIRES", "LEFT"), rows)
    else:
        if not ends:
            say(f"no lease of {name} is valid now; see: svm status {name}")
        for node, end in ends:
            line(f"Sliver for slice {name} expires {stamp(end)} on {node}")


def _leased(sliver: dict[str, Any]) -> bool:
    return sliver["state"] in ("leased", "running", "stopped") and sliver["expires_at"] is not None
