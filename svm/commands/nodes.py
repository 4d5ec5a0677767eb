"""nodelist and status: the nodes of a slice."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from svm.arguments import SLICE
from svm.columns import left, stamp, table
from svm.flags import current, flags
from svm.health import Around, Worry, renewal_end, running, worries
from svm.output import MAX_LINE, json_line, line, rows, say
from svm.session import connect
from trust.errors import printable
from trust.needs import words

if TYPE_CHECKING:
    from svm.client import Svmd

COLOURS = {"running": "green", "stopped": "yellow", "died": "red", "expired": "red", "deleting": "yellow"}


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def nodelist(name: str) -> None:
    """List the nodes where a slice has its VMs."""
    there = [each for each in connect().slice(name)["slivers"] if each["state"] == "running"]
    if not there and not current().json:
        say(f"no node of {name} has a VM now; see: svm status {name}")
    shown = [{"slice": name, "node": each["node"], "name": each["name"]} for each in there]
    rows(shown, lambda row: str(row["node"]), as_json=current().json)


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def status(name: str) -> None:
    """Show a slice: each node's state and last error."""
    svmd = connect()
    found = svmd.slice(name)
    now = datetime.fromisoformat(found["now"])
    bad = _worries(svmd, found, now)
    if current().json:
        told = {"ok": not bad, "worries": [asdict(worry) for worry in bad]}
        json_line("slice", {key: value for key, value in found.items() if key != "slivers"} | told)
        for each in found["slivers"]:
            json_line("row", {"slice": name, **each})
        return
    for text in _about(found):
        line(text)
    if found["slivers"]:
        found_rows = [_row(each, now, found["leaselen"]) for each in found["slivers"]]
        table(("NODE", "NAME", "STATE", "LEFT", "LAST ERROR"), found_rows)
    for worry in bad:
        say(printable(f"{worry.where}: {worry.cure}", MAX_LINE))


def _worries(svmd: "Svmd", found: Mapping[str, Any], now: datetime) -> list[Worry]:
    """What doctor says of this slice."""
    from svm.checked import checked

    told = svmd.doctor()
    troubles = [trouble for trouble in told["troubles"] if trouble["slice"] == found["name"]]
    around = Around(now, checked(svmd.credentials).not_valid_after_utc, told.get("roles", ()))
    return worries(found, troubles, around)


def _about(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{found['name']}: {found['state']}, {running(found)}, leases of {found['leaselen']} s"]
    if found["autorenew"]:
        end = renewal_end(found)
        lines.append(f"autorenew on{f' until {stamp(end)}' if end else ''}")
    if found["heal"]:
        lines.append("heal on")
    if found.get("needs"):
        lines.append(f"each sliver has {words(found['needs'])}")
    return lines + [f"key {_fingerprint(key)}" for key in found["keys"]]


def _fingerprint(text: str) -> str:
    from trust.sshkeys import parse_public_key

    key = parse_public_key(text)
    return f"{key.fingerprint} {printable(key.comment)}".rstrip()


def _row(sliver: Mapping[str, Any], now: datetime, leaselen: int) -> tuple[str, ...]:
    end = datetime.fromisoformat(sliver["expires_at"]) if sliver["expires_at"] else None
    state = "died" if sliver["state"] == "stopped" and sliver.get("died_at") else sliver["state"]
    shown = click.style(state, fg=COLOURS.get(state))
    return sliver["node"], sliver["name"], shown, left(end, now, leaselen), printable(sliver["last_error"] or "")
