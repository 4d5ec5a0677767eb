"""plan and apply: slices as a file declares them (docs/declared.md)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from svm.exit_codes import DONE, SOME_FAILED, status_of_refusal
from svm.files import forget_slice
from svm.flags import current, flags
from svm.output import command, json_line, line, refused, say
from svm.session import connect, perform, remember
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from svm.client import Svmd
    from svm.declared import Change, Declared

FILE = click.argument("file", type=click.Path(), default="dslice.toml", metavar="[FILE]")
COLOURS = {"+": "green", "-": "red", "~": "yellow"}


@click.command()
@FILE
@flags
def plan(file: str) -> None:
    """Show what apply would do.

    FILE is dslice.toml if it is not given. A line for each change: + is new, - goes, ~ becomes another.
    """
    _show(_planned(connect(), file))


@click.command()
@FILE
@flags
def apply(file: str) -> int:
    """Make slices what FILE says they are.

    It shows what it does, as plan does, and does it. Slices that are not in FILE stay as they are.
    """
    svmd = connect()
    planned = _planned(svmd, file)
    _show(planned)
    statuses: dict[str, list[int]] = {}
    for change in planned:
        before = statuses.setdefault(change.request.slice, [])
        if all(status in (DONE, SOME_FAILED) for status in before):  # else the slice is not there
            before.append(_do(svmd, change, file))
    found = {status for each in statuses.values() for status in each}
    return found.pop() if len(found) == 1 else SOME_FAILED if found else DONE


def _planned(svmd: "Svmd", file: str) -> "list[Change]":
    from functools import cache

    from svm.declared import changes, read

    declared = read(file)
    sites = cache(lambda: {str(ad["address"]): str(ad["site"]) for ad in svmd.ads(None)})
    return [change for each in declared for change in changes(each, _there(svmd, each), sites)]


def _there(svmd: "Svmd", declared: "Declared") -> Mapping[str, Any] | None:
    """The slice, if there is one that is not being deleted."""
    try:
        found = svmd.slice(declared.name)
    except Refusal as refusal:
        if refusal.code is not Code.NOT_FOUND:
            raise
        return None
    return found if found["state"] == "open" else None


def _show(planned: "list[Change]") -> None:
    for change in planned:
        if current().json:
            json_line("row", {"change": change.sign, "slice": change.request.slice, "text": change.text})
        else:
            line(f"{click.style(change.sign, fg=COLOURS[change.sign])} {change.text}")
    if not planned and not current().json:
        say("nothing to do")


def _do(svmd: "Svmd", change: "Change", file: str) -> int:
    """One operation; its exit status. One that is refused does not keep other slices from theirs."""
    again = f"Try again with: {command(*current().words(), 'apply', file)}"
    try:
        status, report = perform(svmd, change.request, lambda _failures: [again])
    except Refusal as refusal:
        status = status_of_refusal(refusal.code)
        refused(refusal, status, as_json=current().json)
        return status
    if change.request.verb == "createslice" and report.ok:
        remember(svmd, change.request.slice)
    if change.request.verb == "deleteslice" and not report.failed:
        forget_slice(svmd.home.directory, change.request.slice)
    return status
