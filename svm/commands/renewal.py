"""autorenew, delegate, undelegate, heal: what svmd may do for a slice while its owner is away."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from svm.arguments import SLICE, day
from svm.columns import stamp
from svm.flags import current, flags
from svm.health import renewal_end
from svm.output import json_line, line
from svm.request import Request
from svm.session import ask, connect, perform


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("what", type=click.Choice(["on", "off", "status"]))
@click.option("--until", metavar="DATE", help="With on: do not renew past this time.")
@flags
def autorenew(name: str, what: str, until: str | None) -> int | None:
    """Have leases renewed by themselves, or not.

    It ends at --until, at the end of your delegation (svm delegate SLICE extends it), or when you say off.
    """
    if until and what != "on":
        raise click.UsageError("--until goes with on")
    if what == "off":
        return ask(Request("autorenew", name, autorenew=False))
    from trust.clock import system_clock

    end = day(until, system_clock().now()) if until else None
    svmd = connect()
    found = svmd.slice(name)
    if what == "status":
        _show(found)
        return None
    request = Request("autorenew", name, autorenew=True, until=end, standing_heal=found["heal"])
    return perform(svmd, request)[0]


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def delegate(name: str) -> int:
    """Let svmd renew leases while you are away.

    It may until your certificate ends; this extends what autorenew on gave.
    """
    svmd = connect()
    return perform(svmd, Request("delegate", name, standing_heal=svmd.slice(name)["heal"]))[0]


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def undelegate(name: str) -> int:
    """Revoke the delegation and stop automatic renewal.

    svmd forgets everything that lets it act on the slice.
    """
    return ask(Request("undelegate", name))


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("what", type=click.Choice(["on", "off"]))
@flags
def heal(name: str, what: str) -> int:
    """Have silent nodes replaced by others, or not.

    So are nodes that PlanetLab's operator wants to empty. The new node gets the slice's keys.
    """
    on = what == "on"
    return ask(Request("heal", name, heal=on, standing_heal=on))


def _show(found: Mapping[str, Any]) -> None:
    fields = {key: found[key] for key in ("name", "autorenew", "autorenew_until", "heal", "standing_until")}
    by_link = fields["by_link_until"] = found.get("by_link_until")
    if current().json:
        json_line("row", fields)
        return
    line(f"autorenew on{_until(renewal_end(found))}" if found["autorenew"] else "autorenew off")
    standing = found["standing_until"]
    line(f"standing delegation{_until(datetime.fromisoformat(standing))}" if standing else "no standing delegation")
    if by_link and not (standing and datetime.fromisoformat(standing) >= datetime.fromisoformat(by_link)):
        line(f"links in letters may renew{_until(datetime.fromisoformat(by_link))}")


def _until(end: datetime | None) -> str:
    return f" until {stamp(end)}" if end else ""
