"""`dslice nodes`, `dslice node …`: every enrolled node, and which of them get new slivers."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from admin.lab.verbs import Here, follow, operators, reason_option, told
from svm.arguments import day
from svm.columns import stamp, table
from svm.output import json_line, say
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from admin.lab.reach import Reach
    from plc.client.orders import Enrolled

SVMD_SECONDS = 300  # that retiring a node waits for svmd
LOOK_AGAIN = 3  # seconds between two looks that it is asked for
LIVING = ("ticketed", "leased", "running", "stopped", "deleting")
NAMED = 20  # nodes that are missing, by name in one line
COLUMNS = ("NODE", "ADDRESS", "SITE", "STATE", "PLACES", "MEMORY", "SLIVERS", "DRIVER", "VERSION", "IMAGES", "DRAINED")
RARE = COLUMNS[-2:]  # left out where no node has any


@dataclass(frozen=True, slots=True)
class Seen:
    """An enrolled node, and what the agents heard of it last (empty: never anything)."""

    node: "Enrolled"
    ad: Mapping[str, Any]

    @property
    def up(self) -> bool:
        return bool(self.ad.get("up"))

    @property
    def state(self) -> str:
        """For people."""
        if not self.ad:
            return "never advertised"
        return "up" if self.up else f"silent since {stamp(datetime.fromisoformat(self.ad['heard_at']))}"

    @property
    def drained(self) -> str:
        if self.node.drain is None:
            return ""
        until = f" until {stamp(self.node.drain.until)}" if self.node.drain.until else ""
        renewals = "" if self.node.drain.renews else ", no renewals"
        others = ", slices move" if self.node.drain.replaces else ""
        return f"{self.node.drain.reason}{until}{renewals}{others}"

    def fields(self) -> dict[str, Any]:
        """For programs; what is not known is null."""
        names = ("site", "driver", "version", "slots", "slots_free", "slivers", "memory_free_mb", "disk_free_mb")
        more = {name: self.ad.get(name) for name in (*names, "simulated", "heard_at")}
        more["images"] = sorted(self.ad.get("images") or ())
        drain = self.node.drain
        wanted = {**drain.to_json(), "who": self.node.who, "since": _text(self.node.since)} if drain else None
        where = {"node": self.node.name, "address": ", ".join(self.node.addresses)}
        return {**where, "up": self.up, "enrolled_at": self.node.enrolled_at.isoformat(), **more, "drain": wanted}


def heard(reach: "Reach") -> tuple[list[Seen], dict[str, str]]:
    """Every enrolled node; and which agents do not answer, with the reason: what they alone know is missing then."""
    ads: dict[str, Mapping[str, Any]] = {}
    silent: dict[str, str] = {}
    for entry in reach.plc.directory().agents:
        try:
            told = reach.agent(entry, "/nodes")["nodes"]
        except Refusal as refusal:
            silent[entry.name] = refusal.reason
            continue
        for ad in told:
            if ad["node"] not in ads or ad["heard_at"] > ads[ad["node"]]["heard_at"]:
                ads[ad["node"]] = ad
    return [Seen(node, ads.get(node.name, {})) for node in reach.plc.nodes()], silent


@click.command()
@click.option("--silent", is_flag=True, help="Only those that are not up.")
@click.option("--drained", is_flag=True, help="Only those that get no new slivers.")
@operators
def nodes(here: Here, silent: bool, drained: bool) -> None:
    """List every enrolled node.

    Whether it is up, what it has free, and whether it is drained; those that have never advertised, too.
    """
    with here.reach() as reach:
        found, silent_agents = heard(reach)
    for agent, reason in silent_agents.items():
        say(f"agent {agent} says nothing of its nodes: {reason}")
    shown = [one for one in found if not (silent and one.up) and not (drained and one.node.drain is None)]
    if here.json:
        for one in shown:
            json_line("row", one.fields())
        return
    if shown:
        table(*_telling(COLUMNS, [_row(one) for one in shown]))
    missing = [f"{one.node.name} ({one.state})" for one in found if not one.up]
    say(f"{len(found) - len(missing)} of {len(found)} nodes are up{_missing(missing)}")


def _row(one: Seen) -> Sequence[str]:
    ad = one.ad
    places = f"{ad['slots_free']}/{ad['slots']}" if ad else "-"
    memory = f"{ad['memory_free_mb'] / 1024:.1f} GiB" if ad else "-"
    said = [str(ad.get(name) if ad.get(name) is not None else "-") for name in ("slivers", "driver", "version")]
    where = (one.node.name, ", ".join(one.node.addresses), str(ad.get("site", "-")))
    return (*where, one.state, places, memory, *said, ", ".join(sorted(ad.get("images") or ())), one.drained)


def _telling(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Without those of the rare columns in which nothing stands."""
    kept = [at for at, name in enumerate(columns) if name not in RARE or any(row[at] for row in rows)]
    return [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _missing(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more (--silent shows all)" if len(names) > NAMED else ""
    return f"; missing: {', '.join(names[:NAMED])}{more}"


@click.group()
def node() -> None:
    """Drain a node, or retire it."""


@node.command()
@click.argument("which", metavar="NODE")
@click.option("--until", metavar="DATE", help="Take new slivers again then (2026-12-24, 2026-12-24T18:00; UTC).")
@click.option("--no-renew", is_flag=True, help="Renew no lease there either: slivers end with their leases.")
@click.option("--replace", is_flag=True, help="Slices that heal get other nodes; theirs here end when those run.")
@reason_option
@operators
def drain(here: Here, which: str, until: str | None, no_renew: bool, replace: bool, reason: str) -> None:
    """Let a node take no new slivers.

    Agents leave it out, and it refuses by itself. Owners of slivers there get a letter.
    """
    from admin.lab.looking import look_once_leaving
    from trust.clock import system_clock

    end = day(until, system_clock().now()) if until else None
    with here.reach() as reach:
        found = enrolled(reach, which)
        tell = owners(reach, found)
        reach.plc.drain(found.name, reason, end, renews=not no_renew, tell=tell, replaces=replace)
        at_once = replace and look_once_leaving(reach, found)
    letters = f"{len(tell)} owner{'' if len(tell) == 1 else 's'} of slivers there get{'s' * (len(tell) == 1)} a letter"
    until_when = f" until {stamp(end)}" if end else ""
    others = f"slices that heal get other nodes {'now' if at_once else 'within minutes'}; " if replace else ""
    fields = {"node": found.name, "until": _text(end), "renews": not no_renew, "replaces": replace}
    told(here, f"{found.name} takes no new slivers{until_when}; {others}{letters}.", **fields, told=sorted(tell))


@node.command()
@click.argument("which", metavar="NODE")
@operators
def undrain(here: Here, which: str) -> None:
    """Let a drained node take new slivers again."""
    with here.reach() as reach:
        found = enrolled(reach, which)
        reach.plc.undrain(found.name)
    told(here, f"{found.name} takes new slivers.", node=found.name)


@node.command()
@click.argument("which", metavar="NODE")
@click.option("--evict", is_flag=True, help="Remove the slivers that are there.")
@click.option("--lost", is_flag=True, help="It does not answer and never will: what was there counts as gone.")
@reason_option
@operators
def retire(here: Here, which: str, evict: bool, lost: bool, reason: str) -> int:
    """Forget a node for good.

    It is drained and empty, or --evict empties it, or it is --lost. Its certificate is revoked.
    """
    with here.reach() as reach:
        found = enrolled(reach, which)
        if found.drain is None:
            reach.plc.drain(found.name, reason, None, renews=False, tell=owners(reach, found))
        if not lost:
            status = _empty(here, reach, found, reason, evict=evict)
            if status:
                return status
            say(f"{found.name} is empty; waiting until svmd has seen that")
            _wait_for_svmd(reach, found)
        reach.plc.retire(found.name, reason)
    told(here, f"{found.name} is retired: its certificate is revoked. Stop its node manager.", node=found.name)
    return 0


def _empty(here: Here, reach: "Reach", found: "Enrolled", reason: str, *, evict: bool) -> int:
    """Returns 0 once nothing is there; Refusal(BUSY) that names what is."""
    from admin.lab.holding import held_at
    from admin.lab.orders import place

    there = held_at(reach, found)
    if not there:
        return 0
    names = ", ".join(one.slice for one in there[:NAMED])
    if not evict:
        raise Refusal(
            Code.BUSY,
            f"{found.name} is drained and still has {len(there)} slivers ({names}): wait until their leases end,"
            f" or say --evict",
        )
    orders = [place(reach, one.slice, one.slice_id, [found.identity], reason)[0] for one in there]
    return follow(here, reach, orders)


def _wait_for_svmd(reach: "Reach", found: "Enrolled") -> None:
    """svmd asks the node what became of its slivers; afterwards nobody can. Refusal(BUSY) when it has not in time."""
    from admin.lab.looking import look

    end = time.monotonic() + SVMD_SECONDS
    while left := _known_to_svmd(reach, found.name):
        if time.monotonic() > end:
            raise Refusal(
                Code.BUSY,
                f"svmd still counts slivers on {found.name} ({', '.join(left[:NAMED])}): see that beat and a worker"
                f" run, then try again, or say --lost",
            )
        look(reach, [found.name])  # it passes over a sliver that has changed within half a minute
        time.sleep(LOOK_AGAIN)


def _known_to_svmd(reach: "Reach", node: str) -> list[str]:
    """Slices of which svmd thinks that the node holds a sliver; none where there is no svmd."""
    try:
        slivers = reach.svmd("/operator/slivers")["slivers"]
    except Refusal as refusal:
        if refusal.code is not Code.NOT_FOUND:
            raise
        return []
    return [str(one["slice"]) for one in slivers if one["node"] == node and one["state"] in LIVING]


def enrolled(reach: "Reach", which: str) -> "Enrolled":
    """The node of that name or address. Raises Refusal(NOT_FOUND)."""
    for one in reach.plc.nodes():
        if which == one.name or which in one.addresses:
            return one
    raise Refusal(Code.NOT_FOUND, f"no node {which[:80]!a} is enrolled; dslice nodes lists them")


def owners(reach: "Reach", found: "Enrolled") -> dict[str, list[str]]:
    """Whose slices have slivers there, as svmd knows; without svmd nobody is told, and the operator hears of that."""
    tell: defaultdict[str, list[str]] = defaultdict(list)
    try:
        for one in reach.svmd("/operator/slices", {"node": found.name})["slices"]:
            tell[one["owner"]].append(one["name"])
    except Refusal as refusal:
        say(f"owners of slivers on {found.name} get no letter: {refusal.reason}")
    return dict(tell)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
