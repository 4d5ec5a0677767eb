"""createslice, which is newtickets, newleases and newvms in one; and newtickets alone."""

import sys
from datetime import datetime

import click

from svm.arguments import day
from svm.flags import current, flags
from svm.output import NodeResult, Retry, command, hint, rows
from svm.request import Request
from svm.retry import lower_commands, whole_slice
from svm.session import connect, perform, remember
from svm.slicefile import SliceFile, read_slice_file

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
@flags
def createslice(
    file: str, agents: tuple[str, ...], dry_run: bool, replace: bool, autorenew: bool, until: str | None
) -> int | None:
    """Create the slice that FILE describes.

    FILE is XML as in the howto, - is stdin.
    """
    if until and not autorenew:
        raise click.UsageError("--until says when --autorenew ends; give both")
    wanted = read_slice_file(file, sys.stdin.buffer)
    end = _end(until)
    svmd = connect()
    if dry_run:
        rows(svmd.plan(_plan(wanted, agents)), lambda node: str(node["address"]), as_json=current().json)
        return None
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
