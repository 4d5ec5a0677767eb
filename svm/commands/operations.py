"""watch, history, cancel: operations, those that go on and those of before."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from svm.arguments import SLICE, SLICE_OR_OPERATION, is_operation
from svm.columns import stamp
from svm.flags import current, flags
from svm.output import json_line, line, say
from svm.retry import retry_of
from svm.session import connect
from svm.told import told
from trust.errors import Code, Refusal


@click.command()
@click.argument("what", type=SLICE_OR_OPERATION, metavar="SLICE|OPERATION")
@flags
def watch(what: str) -> int:
    """Follow an operation until it ends and exit with its status.

    Of a slice, the operation that goes on, else the last one.
    """
    from svm.following import follow

    svmd = connect()
    operation = what if is_operation(what) else _newest(svmd.slice(what))
    found = svmd.operation(operation)
    if found["outcome"] is not None and not current().json:
        say(f"{found['verb']} {found['slice']} ended {stamp(datetime.fromisoformat(found['ended_at']))}:")
    retry = retry_of(found["verb"], found["slice"], current())
    status, _ = follow(svmd, operation, current(), retry=retry, title=f"{found['verb']} {found['slice']}".strip())
    return status


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.option(
    "-n", "--lines", type=click.IntRange(1, 1000), default=200, show_default=True, help="Show only the last N events."
)
@flags
def history(name: str, lines: int) -> None:
    """Show what happened to a slice, oldest first."""
    for event in connect().history(name, lines):
        if current().json:
            json_line("row", {"event": event["type"], **event})
        else:
            line(told(event))


@click.command()
@click.argument("what", type=SLICE_OR_OPERATION, metavar="SLICE|OPERATION")
@flags
def cancel(what: str) -> None:
    """Cancel an operation.

    Steps already under way are completed, and no others begin.
    """

    svmd = connect()
    operation = what if is_operation(what) else _newest(svmd.slice(what), running=True)
    found = svmd.cancel(operation)
    if current().json:
        json_line("row", found)
    elif found["outcome"] not in (None, "cancelled"):
        say(f"{found['verb']} {found['slice']} had already ended ({found['outcome']})")
    else:
        say(f"cancelled; steps already under way are being completed: svm watch {operation}")


def _newest(found: Mapping[str, Any], *, running: bool = False) -> str:
    """The open operation, else the last one."""
    if found["operations"]:
        return str(found["operations"][-1]["operation"])
    if running or not found["newest_operation"]:
        raise Refusal(Code.NOT_FOUND, f"nothing is under way on {found['name']}; see: svm history {found['name']}")
    return str(found["newest_operation"])
