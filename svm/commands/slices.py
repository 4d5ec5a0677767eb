"""deleteslice, clean, slices: whole slices."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from svm.arguments import SLICE
from svm.columns import stamp, table
from svm.files import forget_slice, known_slices
from svm.flags import current, flags
from svm.health import running
from svm.output import NodeResult, json_line, line, rows
from svm.request import Request
from svm.retry import same_again
from svm.session import connect, perform


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def deleteslice(name: str) -> int:
    """Delete a slice: its VMs, its tickets, its name."""
    given = current()
    svmd = connect()

    def retry(_failures: list[NodeResult]) -> list[str]:
        return [*same_again(given), "What could not be reached ends by itself, with its lease at the latest."]

    status, report = perform(svmd, Request("deleteslice", name), retry)
    if not report.failed:
        forget_slice(svmd.home.directory, name)
    return status


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be purged.")
@flags
def clean(dry_run: bool) -> int | None:
    """Purge slices without valid tickets or leases.

    Yours only; what counts is the service's clock, not this machine's.
    """
    svmd = connect()
    if dry_run:
        rows(svmd.slices(purgeable=True), lambda found: str(found["name"]), as_json=current().json)
        return None
    status, _ = perform(svmd, Request("clean"))
    kept = {found["name"] for found in svmd.slices()}
    for name in known_slices(svmd.home.directory):
        if name not in kept:
            forget_slice(svmd.home.directory, name)
    return status


@click.command()
@flags
def slices() -> None:
    """List your slices."""
    found = connect().slices()
    if current().json:
        for each in found:
            json_line("row", each)
    elif found:
        table(("SLICE", "STATE", "NODES", "FIRST LEASE ENDS", "AUTORENEW"), [_row(each) for each in found])
    else:
        line("no slices; make one with: svm createslice FILE")


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    first = stamp(datetime.fromisoformat(found["first_end"])) if found["first_end"] else "-"
    return found["name"], found["state"], running(found), first, "on" if found["autorenew"] else "off"
