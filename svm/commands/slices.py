"""deleteslice, shrink, clean, slices: whole slices, and what is given back of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from svm.arguments import SLICE
from svm.columns import stamp, table
from svm.exit_codes import FAILED
from svm.files import forget_slice, known_slices
from svm.flags import current, flags
from svm.health import running
from svm.output import json_line, line, rows, say
from svm.request import Request
from svm.results import NodeResult
from svm.retry import LEFT_TO_ITSELF, same_again
from svm.session import connect, nodes_of, perform, somebody_is_there


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, as where no terminal is there to answer.")
@flags
def deleteslice(name: str, yes: bool) -> int:
    """Delete a slice: its VMs, its tickets, its name."""
    given = current()
    svmd = connect()
    if not yes and somebody_is_there() and not _agrees(svmd.slice(name)):
        say(f"{name} stays as it is")
        return FAILED

    def retry(_failures: list[NodeResult]) -> list[str]:
        return [*same_again(given), LEFT_TO_ITSELF]

    status, report = perform(svmd, Request("deleteslice", name), retry)
    if not report.failed:
        forget_slice(svmd.home.directory, name)
    return status


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("words", nargs=-1, required=True, metavar="NODE...")
@flags
def shrink(name: str, words: tuple[str, ...]) -> int:
    """Give back some of a slice's nodes.

    Their VMs end, with all that is in them. createslice with a smaller numnodes chooses the nodes itself.
    """
    svmd = connect()
    given = nodes_of(svmd, name, words)
    if not given:
        raise click.UsageError("name the nodes that are to go")
    status, _ = perform(svmd, Request("shrink", name, nodes=given), lambda _failures: [LEFT_TO_ITSELF])
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


def _agrees(found: Mapping[str, Any]) -> bool:
    """Whether the user means it; asked only where something is left to lose."""
    if found["state"] != "open":
        return True
    held = sum(count for state, count in found["nodes"].items() if state not in ("expired", "deleting", "deleted"))
    what = f"Delete {found['name']} with all that is on its {held} {'node' if held == 1 else 'nodes'}?"
    return not held or click.confirm(what, err=True)


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    first = stamp(datetime.fromisoformat(found["first_end"])) if found["first_end"] else "-"
    return found["name"], found["state"], running(found), first, "on" if found["autorenew"] else "off"
