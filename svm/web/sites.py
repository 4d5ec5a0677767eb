"""The nodes that agents advertise, by site, and what the user has on one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from svm.web.asking import Asking
from svm.web.changes import orders
from svm.web.pages import MANY, Page, Query, in_order, paged
from trust.errors import Code, Refusal


def nodes(asking: Asking, query: Query) -> Page:
    """All sites, and the nodes of one of them; of all sites, where they are few."""
    with asking.svmd() as svmd:
        ads, told = svmd.ads(None), svmd.doctor()
    silent = [each for each in told["troubles"] if each["what"] == "silent"]
    site, only = query.get("site"), query.get("only", "")
    chosen = [ad for ad in ads if (site is None or ad["site"] == site) and _fits(ad, only)]
    listed = site is not None or bool(only) or len(ads) <= MANY
    shown, at, of = paged(sorted(chosen, key=lambda ad: (ad["site"], in_order({"node": ad["address"]}))), query)
    return Page(
        "nodes.html",
        {
            "now": told["now"],
            "sites": sites(ads),
            "total": site_row("", ads),
            "site": site,
            "only": only,
            "nodes": shown if listed else [],
            "listed": listed,
            "chosen": len(chosen),
            "silent": silent,
            "agents": [agent for agent in told["agents"] if not agent["ok"]],
            "page": at,
            "pages": of,
        },
    )


def node(asking: Asking, address: str, _query: Query) -> Page:
    """One node: what it advertises, and the user's slivers there."""
    with asking.svmd() as svmd:
        ads, slivers = svmd.ads(None), svmd.get("/slivers", {"node": address})
    ad = next((ad for ad in ads if ad["address"] == address), None)
    if ad is None and not slivers["slivers"]:
        raise Refusal(Code.NOT_FOUND, f"no agent advertises {address[:60]!a}, and you have nothing there")
    mine = [{**each, "orders": orders(each["state"])} for each in slivers["slivers"]]
    return Page("node.html", {"address": address, "ad": ad, "now": slivers["now"], "slivers": mine})


def sites(ads: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each site, by name."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for ad in ads:
        by_name.setdefault(ad["site"], []).append(ad)
    return [site_row(name, by_name[name]) for name in sorted(by_name)]


def site_row(name: str, ads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a site has: nodes, places in all and in use, and how many nodes take no more slivers."""
    places, free = sum(ad["slots"] for ad in ads), sum(ad["slots_free"] for ad in ads)
    full = sum(not _takes(ad) for ad in ads)
    return {"site": name, "nodes": len(ads), "places": places, "used": places - free, "full": full}


def _takes(ad: Mapping[str, Any]) -> bool:
    return ad["slots_free"] > 0 and ad.get("disk_free_mb") != 0 and not ad.get("drained")


def _fits(ad: Mapping[str, Any], only: str) -> bool:
    return only not in ("free", "full") or (only == "free") is _takes(ad)
