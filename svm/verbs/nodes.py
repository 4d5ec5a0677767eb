"""nodelist, status, inventory: the nodes of a slice."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import click

from svm.columns import left, stamp, table
from svm.flags import current, flags
from svm.output import json_line, line, printable, rows, say
from svm.session import connect
from svm.words import SLICE

WARNED = timedelta(days=3)
LEASED = ("leased", "running")
COLOURS = {"running": "green", "expired": "red", "deleting": "yellow"}


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def nodelist(name: str) -> None:
    """List the nodes where a slice has its VMs."""
    running = [each for each in connect().slice(name)["slivers"] if each["state"] == "running"]
    if not running and not current().json:
        say(f"no node of {name} has a VM now; see: svm status {name}")
    shown = [{"slice": name, "node": each["node"], "name": each["name"]} for each in running]
    rows(shown, lambda row: str(row["node"]), as_json=current().json)


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def status(name: str) -> None:
    """Show a slice: each node's state and last error."""
    found = connect().slice(name)
    if current().json:
        json_line("slice", {key: value for key, value in found.items() if key != "slivers"})
        for each in found["slivers"]:
            json_line("row", {"slice": name, **each})
        return
    for text in _about(found):
        line(text)
    now = datetime.fromisoformat(found["now"])
    if found["slivers"]:
        table(("NODE", "NAME", "STATE", "LEFT", "LAST ERROR"), [_row(each, now) for each in found["slivers"]])
    for operation in found["operations"]:
        say(f"{operation['verb']} goes on; see: svm watch {operation['operation']}")
    for warning in _warnings(found, now):
        say(warning)


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def inventory(name: str) -> None:
    """Print an Ansible inventory of a slice.

    JSON, to be read with ansible -i FILE.
    """
    from svm.sshconfig import hosts, write

    svmd = connect()
    found = hosts(svmd.slice(name))
    config = write(svmd.home.directory, name, found)
    each = {
        host.node: {
            "ansible_host": host.address,
            "ansible_port": host.port,
            "ansible_user": name,
            "ansible_ssh_common_args": f'-F "{config}"',
        }
        for host in found
    }
    line(json.dumps({name: {"hosts": each}}, indent=None if current().json else 2))


def _about(found: Mapping[str, Any]) -> list[str]:
    running = found["nodes"].get("running", 0)
    lines = [
        f"{found['name']}: {found['state']}, {running} of {found['numnodes']} running, leases of {found['leaselen']} s"
    ]
    if found["autorenew"]:
        end = found["autorenew_until"] or found["standing_until"]
        lines.append(f"autorenew on{f' until {_stamp(end)}' if end else ''}")
    if found["heal"]:
        lines.append("heal on")
    return lines + [f"key {_fingerprint(key)}" for key in found["keys"]]


def _fingerprint(text: str) -> str:
    from trust.sshkeys import parse_public_key

    key = parse_public_key(text)
    return f"{key.fingerprint} {printable(key.comment)}".rstrip()


def _warnings(found: Mapping[str, Any], now: datetime) -> list[str]:
    """What ends soon unless somebody does something; the owner gets the same by e-mail."""
    name, leases = found["name"], [each["expires_at"] for each in found["slivers"] if each["state"] in LEASED]
    if found["autorenew"] or found["heal"]:
        if found["standing_until"] is None:
            return [f"no standing delegation, so nothing is renewed; give one with: svm delegate {name}"]
        if _is_near(found["standing_until"], now):
            ends = _stamp(found["standing_until"])
            return [f"the standing delegation ends {ends}; extend it with: svm delegate {name}"]
    if found["autorenew"]:
        if found["autorenew_until"] and _is_near(found["autorenew_until"], now):
            return [f"autorenew ends {_stamp(found['autorenew_until'])}; go on with: svm autorenew {name} on"]
        return []
    # Who asked for short leases knows that they end: half of one is warning enough.
    first = min(leases, default=None)
    if first and _is_near(first, now, min(WARNED, timedelta(seconds=found["leaselen"] / 2))):
        return [f"the first lease ends {_stamp(first)}; keep it with: svm renewslice {name}"]
    return []


def _is_near(text: str, now: datetime, warned: timedelta = WARNED) -> bool:
    return datetime.fromisoformat(text) - now < warned


def _row(sliver: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    end = datetime.fromisoformat(sliver["expires_at"]) if sliver["expires_at"] else None
    state = click.style(sliver["state"], fg=COLOURS.get(sliver["state"]))
    return sliver["node"], sliver["name"], state, left(end, now), printable(sliver["last_error"] or "")


def _stamp(text: str) -> str:
    return stamp(datetime.fromisoformat(text))
