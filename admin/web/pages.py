"""What the operator's own pages show, as JSON has it; those of `svm.web.pages` he has of everybody's slices."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from admin.lab.nodes import Seen, enrolled, heard
from admin.web.everyones import Operating
from svm.arguments import past
from svm.web import pages as shared
from svm.web.pages import MANY, Page, Query, in_order, paged
from svm.web.sites import site_row, sites
from trust.clock import system_clock
from trust.errors import Refusal

BY = ("user", "site", "slice", "node")
NOWHERE = "(no site yet)"


def slices(asking: Operating, query: Query) -> Page:
    """Everybody's, or those of an owner, of owners at a site, with a sliver on a node, with slivers that have ended."""
    owner, site, node = (query.get(word, "").strip() for word in ("owner", "site", "node"))
    people = {user.email for user in asking.reach.plc.users() if user.site == site} if site else None
    names = None
    if node:
        with asking.svmd() as svmd:
            names = {each["name"] for each in svmd.get("/slices", {"node": node})["slices"]}

    def fits(found: Mapping[str, Any]) -> bool:
        return (
            owner in ("", found["owner"])
            and (people is None or found["owner"] in people)
            and (names is None or found["name"] in names)
            and (query.get("only") != "expired" or bool(found["nodes"].get("expired")))
        )

    page = shared.slices(asking, query, fits)
    asked = {word: query.get(word, "") for word in ("owner", "site", "node", "only")}
    return Page(page.template, page.data | {"query": asked})


def nodes(asking: Operating, query: Query) -> Page:
    """Every enrolled node, by site; of all sites where they are few, or where only some kind is asked for."""
    found, silent = heard(asking.reach)
    site, only = query.get("site"), query.get("only", "")
    chosen = [one for one in found if site in (None, _site(one)) and _fits(one, only)]
    listed = site is not None or bool(only) or len(found) <= MANY
    shown, at, of = paged(sorted(chosen, key=lambda one: (_site(one), _order(one))), query)
    ads = [_ad(one) for one in found if one.ad]
    return Page(
        "nodes.html",
        {
            "now": system_clock().now().isoformat(),
            "sites": sites(ads),
            "total": site_row("", ads),
            "site": site,
            "only": only,
            "counts": {word: sum(_fits(one, word) for one in found) for word in ("", "silent", "drained")},
            "nodes": [_row(one) for one in shown] if listed else [],
            "listed": listed,
            "chosen": len(chosen),
            "silent": [],
            "agents": [{"name": name, "reason": reason} for name, reason in silent.items()],
            "page": at,
            "pages": of,
        },
    )


def node(asking: Operating, which: str, _query: Query) -> Page:
    """One node: how it is, and everybody's slivers there."""
    wanted = enrolled(asking.reach, which)
    found, silent = heard(asking.reach)
    one = next((each for each in found if each.node.name == wanted.name), Seen(wanted, {}))
    slivers: list[Any] = []
    now = system_clock().now().isoformat()
    with asking.svmd() as svmd:
        for address in wanted.addresses:
            slivers += svmd.get(f"/nodes/{address}")["slivers"]
    told = [{"name": name, "reason": reason} for name, reason in silent.items()]
    return Page("node.html", {"now": now, "node": _row(one), "slivers": slivers, "agents": told})


def orphans(asking: Operating, _query: Query) -> Page:
    """What all nodes said when they were asked last; a page of its own asks none, for that may take minutes."""
    looked = asking.looked
    data: dict[str, Any] = {"now": system_clock().now().isoformat(), "looked": None, "orphans": [], "silent": []}
    if looked is not None:
        data["looked"] = {"began": looked.began.isoformat(), "ended": _iso(looked.ended), "refused": looked.refused}
        data["orphans"] = [one.fields() for one in looked.orphans]
        data["silent"] = [{"node": name, "reason": reason} for name, reason in looked.silent]
    return Page("orphans.html", data | {"tag": of_orphans(asking)()})


def of_orphans(asking: Operating) -> Callable[[], str]:
    """What changes when their page does."""

    def look() -> str:
        looked = asking.looked
        return f"{looked.began:%H%M%S%f}-{bool(looked.ended)}" if looked else "none"

    return look


def orders(asking: Operating, key: str, _query: Query) -> Page:
    """Which nodes have obeyed."""
    placed = asking.placed(key)
    obeyed = asking.obeyed(placed)
    data = {"what": placed.what, "reason": placed.reason, "at": placed.at.isoformat(), "key": key, "nodes": obeyed}
    return Page("orders.html", data | {"tag": str(sum(obeyed.values())), "ok": sum(obeyed.values())})


def of_orders(asking: Operating, key: str) -> Callable[[], str]:
    """What changes when their page does."""
    placed = asking.placed(key)
    return lambda: str(sum(asking.obeyed(placed).values()))


def usage(asking: Operating, query: Query) -> Page:
    """How long slivers were granted and used; dates that make no sense are said beside the form."""
    by = query.get("by", "user") if query.get("by") in BY else "user"
    wrong = ""
    try:
        begin, end = (past(text) if (text := query.get(word, "").strip()) else None for word in ("since", "until"))
        first, last, totals = asking.reach.plc.usage(by, begin, end, everyones=True)
    except Refusal as refusal:
        wrong = refusal.reason
        first, last, totals = asking.reach.plc.usage(by, None, None, everyones=True)
    rows, at, of = paged(sorted(totals, key=lambda one: -one.granted), query)
    data: dict[str, Any] = {
        "by": by,
        "kinds": BY,
        "since": first.isoformat(),
        "until": last.isoformat(),
        "wrong": wrong,
    }
    data |= {"granted": sum(one.granted for one in totals), "used": sum(one.used for one in totals)}
    data |= {"query": {word: query.get(word, "") for word in ("since", "until")}, "page": at, "pages": of}
    return Page("usage.html", data | {"totals": [asdict(one) for one in rows]})


def _row(one: Seen) -> dict[str, Any]:
    fields = one.fields()
    return {**fields, "site": _site(one), "state": one.state, "name": one.node.name, "used": _used(one)}


def _ad(one: Seen) -> dict[str, Any]:
    """As a site's row counts it: a drained node says that it has no place free."""
    return {**one.ad, "site": _site(one), "slots_free": one.ad["slots"] - (_used(one) or 0), "drained": one.drained}


def _used(one: Seen) -> int | None:
    """Places that are taken; None where the node has never said it."""
    if not one.ad:
        return None
    held = one.ad.get("slivers")
    return int(held if held is not None else one.ad["slots"] - one.ad["slots_free"])


def _site(one: Seen) -> str:
    return str(one.ad.get("site") or NOWHERE)


def _order(one: Seen) -> tuple[int, str, list[int]]:
    return in_order({"node": one.node.addresses[0] if one.node.addresses else ""})


def _fits(one: Seen, only: str) -> bool:
    match only:
        case "silent":
            return not one.up
        case "drained":
            return one.node.drain is not None
        case _:
            return True


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
