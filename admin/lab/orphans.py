"""`dslice orphans`: slivers on nodes that no service manager's table knows, after a restore say; and freeing them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from admin.lab.verbs import Here, follow, operators, reason_option
from svm.columns import left, stamp, table
from svm.output import json_line, say
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from admin.lab.holding import Held
    from admin.lab.reach import Reach
    from trust.orders import Order


@dataclass(frozen=True, slots=True)
class Orphan:
    """A sliver that no table knows; `since`: when reconcile saw it first (ISO 8601), if it has."""

    held: "Held"
    since: str | None

    def fields(self) -> dict[str, Any]:
        return {
            "node": self.held.node,
            "slice": self.held.slice,
            "slice_id": str(self.held.slice_id),
            "owner": self.held.owner,
            "since": self.since,
            "expires_at": self.held.expires_at,
        }


def found(reach: "Reach", node: str | None = None) -> tuple[list[Orphan], dict[str, str]]:
    """All of them, or those of one node, by node; and which nodes did not say what they hold, with the reason.

    The tables are read before the nodes are asked, and again after: a slice that is being made, or deleted, meanwhile
    is in one of the two. What owners made without a service manager is theirs. Raises Refusal.
    """
    from admin.lab.holding import held

    before = _known(reach.svmd("/operator/slivers"))
    there, silent = held(reach, [each for each in reach.plc.nodes() if node in (None, each.name)])
    answer = reach.svmd("/operator/slivers")
    known = before | _known(answer)
    since = {(one["node"], one["slice"]): str(one["since"]) for one in answer["orphans"]}
    stray = [one for one in there if one.via and (one.node, str(one.slice_id)) not in known]
    return [Orphan(one, since.get((one.node, one.slice))) for one in stray], silent


def _known(answer: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(str(one["node"]), str(one["slice_id"])) for one in answer["slivers"]}


@click.command()
@operators
def orphans(here: Here) -> None:
    """List slivers that no table knows.

    Every node is asked. They run on until their leases end; dslice orphan free removes them.
    """
    from trust.clock import system_clock

    with here.reach() as reach:
        stray, silent = found(reach)
    if here.json:
        for one in stray:
            json_line("row", one.fields())
        for node, reason in silent.items():
            json_line("silent", {"node": node, "reason": reason})
        return
    if stray:
        now = system_clock().now()
        table(("NODE", "SLICE", "OWNER", "SEEN SINCE", "LEASE LEFT"), [_row(one, now) for one in stray])
    for node, reason in silent.items():
        say(f"{node} was not asked: {reason}")
    advice = "; dslice orphan free NODE SLICE --reason WHY, or --all, removes them" if stray else ""
    say(f"{len(stray)} orphan{'' if len(stray) == 1 else 's'}{advice}")


def _row(one: Orphan, now: datetime) -> tuple[str, ...]:
    since = stamp(datetime.fromisoformat(one.since)) if one.since else "-"
    end = datetime.fromisoformat(one.held.expires_at)
    return one.held.node, one.held.slice, one.held.owner, since, left(end, now, 0)


@click.group()
def orphan() -> None:
    """Free places that slivers take which no table knows."""


@orphan.command()
@click.argument("node", required=False)
@click.argument("slice", required=False)
@click.option("--all", "every", is_flag=True, help="All that dslice orphans lists.")
@reason_option
@operators
def free(here: Here, node: str | None, slice: str | None, every: bool, reason: str) -> int:
    """Remove orphans: one slice's on a NODE, all of a NODE, or --all.

    The node checks the operator's order by itself. Nothing that a table knows is removed.
    """
    if every == bool(node):
        raise click.UsageError("name a NODE (and a SLICE), or say --all")
    with here.reach() as reach:
        stray, silent = found(reach, node)
        if node in silent:
            raise Refusal(Code.UNREACHABLE, f"{node} was not asked: {silent[node]}")
        chosen = [one.held for one in stray if node in (None, one.held.node) and slice in (None, one.held.slice)]
        if not chosen:
            what = " ".join(word for word in (node, slice) if word) or "any node"
            raise Refusal(Code.NOT_FOUND, f"no orphan on {what}; dslice orphans lists them")
        return follow(here, reach, [removal(reach, one, reason) for one in chosen])


def removal(reach: "Reach", one: "Held", reason: str) -> "Order":
    """Order that an orphan goes. Raises Refusal."""
    from admin.lab.orders import place
    from trust.identity import Identity, Role

    return place(reach, one.slice, one.slice_id, [Identity(Role.NODE, one.node)], reason)[0]
