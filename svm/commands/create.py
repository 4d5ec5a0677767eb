"""createslice, which is newtickets, newleases and newvms in one; and newtickets alone."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from svm.arguments import day
from svm.exit_codes import FAILED
from svm.files import known_slices
from svm.flags import current, flags
from svm.output import Retry, command, hint, rows, say
from svm.request import Request
from svm.results import NodeResult
from svm.retry import lower_commands, whole_slice
from svm.session import connect, perform, remember, somebody_is_there
from svm.slicefile import SliceFile, read_slice_file
from trust.errors import Refusal

if TYPE_CHECKING:
    from svm.client import Svmd

FILE = click.argument("file", type=click.Path())
AGENT = click.option(
    "--agent", "agents", multiple=True, metavar="AGENT", help="Take tickets from this agent (repeat for more agents)."
)


@click.command()
@FILE
@AGENT
@click.option("--dry-run", is_flag=True, help="Only list the nodes that it would take now.")
@click.option("--replace", is_flag=True, help="Have another node take the place of one that fails for good.")
@click.option("--autorenew", is_flag=True, help="Renew its leases from now on.")
@click.option("--until", metavar="DATE", help="With --autorenew: when that ends.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before nodes are given back.")
@flags
def createslice(
    file: str, agents: tuple[str, ...], dry_run: bool, replace: bool, autorenew: bool, until: str | None, yes: bool
) -> int | None:
    """Create the slice that FILE describes, or change it.

    FILE is XML as in the howto, - is stdin. A slice that is there gets the nodes that it lacks by FILE, gives back what
    it has too much, and has its leases of the new length.
    """
    if until and not autorenew:
        raise click.UsageError("--until says when --autorenew ends; give both")
    wanted = read_slice_file(file, sys.stdin.buffer)
    end = _end(until)
    svmd = connect()
    if dry_run:
        rows(svmd.plan(_plan(wanted, agents)), lambda node: str(node["address"]), as_json=current().json)
        return None
    if not yes and somebody_is_there() and not _agrees(svmd, wanted):
        say(f"{wanted.name} stays as it is")
        return FAILED
    request = Request(
        "createslice",
        wanted.name,
        file=wanted,
        agents=agents,
        autorenew=True if autorenew else None,
        until=end,
        replace=replace,
    )
    status, report = perform(svmd, request, _retry(file, wanted.name, replaced=replace))
    if report.ok:
        remember(svmd, wanted.name)
    return status


@click.command()
@FILE
@AGENT
@flags
def newtickets(file: str, agents: tuple[str, ...]) -> int:
    """Obtain tickets for the slice in FILE, no more.

    newleases and newvms go on from there.
    """
    wanted = read_slice_file(file, sys.stdin.buffer)
    status, report = perform(connect(), Request("newtickets", wanted.name, file=wanted, agents=agents))
    hint(report, f"next: {command('newleases', wanted.name)}")
    return status


def _agrees(svmd: "Svmd", wanted: SliceFile) -> bool:
    """Whether the user means it; asked where a slice that this user has made here is to lose nodes."""
    if wanted.name not in known_slices(svmd.home.directory):
        return True
    try:
        found = svmd.slice(wanted.name)
    except Refusal:
        return True  # of which svmd says more
    left = sum(found["nodes"].get(state, 0) for state in ("ticketed", "leased", "running", "stopped"))
    if found["state"] != "open" or left <= wanted.numnodes:
        return True
    lost = left - wanted.numnodes
    what = f"{wanted.name} has {left} nodes. Give back {lost} of them, with all that is there?"
    return click.confirm(what, err=True)


def _plan(wanted: SliceFile, agents: tuple[str, ...]) -> dict[str, object]:
    return {"slice": wanted.name, **wanted.to_json(), "agents": list(agents)}


def _retry(file: str, name: str, *, replaced: bool) -> Retry:
    given = current()

    def commands(failures: list[NodeResult]) -> list[str]:
        if file == "-" or (replaced and all(result.step in ("newleases", "newvms") for result in failures)):
            return lower_commands(name, failures, given)
        return whole_slice(file, name, failures, given)

    return commands


def _end(until: str | None) -> datetime | None:
    if until is None:
        return None
    from trust.clock import system_clock

    return day(until, system_clock().now())
