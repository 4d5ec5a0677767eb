"""`dslice slices`, `dslice slice …`, `dslice evict`: everybody's slices; slivers removed by the operator's word."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from admin.lab.verbs import Here, follow, operators, reason_option, told
from svm.columns import left, stamp, table
from svm.output import json_line, line, say
from trust.errors import Code, Refusal, printable

if TYPE_CHECKING:
    from admin.lab.reach import Reach
    from trust.identity import Identity
    from trust.orders import Order

HOLDING = ("leased", "running", "stopped", "deleting")  # states in which a node may have something


@click.command()
@click.option("--owner", metavar="EMAIL", help="Of this owner only.")
@click.option("--node", metavar="NODE", help="With a sliver on this node (address or name).")
@click.option("--site", metavar="SITE", help="Of owners at this site.")
@click.option("--expired", is_flag=True, help="Only those with slivers that have run out.")
@operators
def slices(here: Here, owner: str | None, node: str | None, site: str | None, expired: bool) -> None:
    """List everybody's slices."""
    with here.reach() as reach:
        answer = reach.svmd("/operator/slices", {"owner": owner, "node": node})
        people = {user.email for user in reach.plc.users() if user.site == site} if site else None
    found = [one for one in answer["slices"] if people is None or one["owner"] in people]
    found = [one for one in found if not expired or one["nodes"].get("expired")]
    if here.json:
        for one in found:
            json_line("row", one)
        return
    if found:
        now = datetime.fromisoformat(answer["now"])
        heads = ("SLICE", "OWNER", "STATE", "RUNNING", "FIRST END", "RENEWS")
        table(heads, [_row(one, now) for one in found])
    say(f"{len(found)} slice{'' if len(found) == 1 else 's'}")


def _row(one: Mapping[str, Any], now: datetime) -> Sequence[str]:
    end = datetime.fromisoformat(one["first_end"]) if one["first_end"] else None
    running = f"{one['nodes'].get('running', 0)} of {one['numnodes']}"
    renews = "by itself" if one["autorenew"] else "-"
    return one["name"], one["owner"], one["state"], running, left(end, now, one["leaselen"]), renews


class _Slice(click.Group):
    """A word that is no verb is a slice's name."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group("slice", cls=_Slice)
def one_slice() -> None:
    """Show anybody's slice (dslice slice NAME), or delete it."""


@one_slice.command()
@click.argument("name", metavar="SLICE")
@operators
def show(here: Here, name: str) -> None:
    """Show a slice: each node's state and last error."""
    with here.reach() as reach:
        found = reach.slice(name)
    if here.json:
        json_line("slice", {key: value for key, value in found.items() if key != "slivers"})
        for each in found["slivers"]:
            json_line("row", {"slice": name, **each})
        return
    now = datetime.fromisoformat(found["now"])
    running = f"{found['nodes'].get('running', 0)} of {found['numnodes']} running"
    line(f"{name} of {found['owner']}: {found['state']}, {running}, since {stamp(_moment(found['created_at']))}")
    if found["slivers"]:
        table(("NODE", "NAME", "STATE", "LEFT", "LAST ERROR"), [_sliver(each, now, found) for each in found["slivers"]])


def _sliver(each: Mapping[str, Any], now: datetime, found: Mapping[str, Any]) -> Sequence[str]:
    time_left = left(_moment(each["expires_at"]), now, found["leaselen"])
    return each["node"], each["name"], each["state"], time_left, printable(each["last_error"] or "")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@one_slice.command()
@click.argument("name", metavar="SLICE")
@reason_option
@operators
def delete(here: Here, name: str, reason: str) -> int:
    """Delete anybody's slice.

    Every node removes its sliver, also one that svmd does not know of; plc gives the name back. Its owner gets a
    letter.
    """
    with here.reach() as reach:
        found, orders = deletion(reach, name, reason)
        status = follow(here, reach, orders)
    told(here, f"{name} of {found['owner']} is deleted; svmd forgets it within minutes.", slice=name)
    return status


@click.command()
@click.argument("name", metavar="SLICE")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@reason_option
@operators
def evict(here: Here, name: str, nodes: tuple[str, ...], reason: str) -> int:
    """Remove a slice's slivers from some nodes.

    Each node checks the order by itself. The owner gets a letter, and svm status shows why.
    """
    with here.reach() as reach:
        return follow(here, reach, eviction(reach, name, nodes, reason))


def deletion(reach: "Reach", name: str, reason: str) -> "tuple[Mapping[str, Any], list[Order]]":
    """Order that a slice goes from every node; the slice as it was, and the orders. Raises Refusal."""
    from admin.lab.orders import place

    found = reach.slice(name)
    there = [_identity(each) for each in found["slivers"] if each["state"] in HOLDING]
    return found, place(reach, name, _registration(found), there, reason, whole=True)


def eviction(reach: "Reach", name: str, nodes: Sequence[str], reason: str) -> "list[Order]":
    """Order that a slice's slivers go from these nodes (address or name). Raises Refusal."""
    from admin.lab.orders import place

    found = reach.slice(name)
    return place(reach, name, _registration(found), _chosen(found, nodes), reason)


def _chosen(found: Mapping[str, Any], nodes: Sequence[str]) -> "list[Identity]":
    """Those nodes of a slice, by address or name. Raises Refusal(NOT_FOUND)."""
    by_word = {word: each for each in found["slivers"] for word in (each["node"], each["name"])}
    missing = [node for node in nodes if node not in by_word]
    if missing:
        raise Refusal(
            Code.NOT_FOUND,
            f"{found['name']} has no sliver on {', '.join(missing)} that svmd knows of: dslice slice {found['name']}"
            f" lists them, dslice orphans those that no table knows",
        )
    return list(dict.fromkeys(_identity(by_word[node]) for node in nodes))


def _identity(sliver: Mapping[str, Any]) -> "Identity":
    from trust.identity import Identity, Role

    return Identity(Role.NODE, sliver["name"])


def _registration(found: Mapping[str, Any]) -> UUID:
    if not found["slice_id"]:
        raise Refusal(Code.NOT_FOUND, f"{found['name']} has no tickets yet, hence nothing on any node")
    return UUID(found["slice_id"])
