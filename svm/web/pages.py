"""What each page shows, as JSON has it; `?format=json` gives the same. Reads only: what changes is in `changes.py`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from lifecycle.verbs import USER_VERBS
from models.states import Verb
from svm.arguments import day
from svm.health import Around, advice, renewal_end, worries
from svm.retry import retry_of
from svm.web.asking import Asking
from svm.web.changes import ORDERS, POWER
from svm.web.live import tag_of_slice, tag_of_slices
from svm.web.timeline import timeline
from trust.errors import Refusal, printable

MANY = 200
"""Nodes that are all shown; of more, those with something wrong, and all of them in pages of so many."""
HISTORY = 300
LONG_HISTORY = 1000
"""Events, the newest ones."""


@dataclass(frozen=True, slots=True)
class Page:
    """A template's name and what it shows."""

    template: str
    data: dict[str, Any]
    status: int = 200


Query = Mapping[str, str]


def slices(asking: Asking, query: Query, fits: Callable[[Mapping[str, Any]], bool] = lambda _: True) -> Page:
    """All slices of the user that fit."""
    with asking.svmd() as svmd:
        told = svmd.doctor()
    around = _around(asking, told["now"], told)
    rows = []
    troubles: dict[str, list[dict[str, Any]]] = {}
    for trouble in told["troubles"]:
        troubles.setdefault(trouble["slice"], []).append(trouble)
    for found in filter(fits, told["slices"]):
        bad = [asdict(worry) for worry in worries(found, troubles.get(found["name"], ()), around)]
        rows.append({**found, "renewal_end": _iso(renewal_end(found)), "worries": bad})
    wrong = sum(bool(row["worries"]) for row in rows)
    chosen = [row for row in rows if row["worries"]] if query.get("show") == "wrong" else rows
    shown, at, of = paged(chosen, query)
    known = {found["name"] for found in told["slices"]}
    gone = [{**each, "cure": advice(each, None)} for each in told["troubles"] if each["slice"] not in known]
    return Page(
        "slices.html",
        {
            "now": told["now"],
            "tag": tag_of_slices(told["slices"]),
            "slices": shown,
            "show": query.get("show", "all"),
            "counts": {"all": len(rows), "wrong": wrong},
            "page": at,
            "pages": of,
            "left_behind": gone,
            "agents": [a for a in told["agents"] if not a["ok"]],
        },
    )


def slice_page(asking: Asking, name: str, query: Query) -> Page:
    """One slice."""
    with asking.svmd() as svmd:
        events = svmd.history(name, HISTORY)  # first, so that the tag is never newer than what is shown
        found, told = svmd.slice(name), svmd.doctor()
    found["slivers"].sort(key=in_order)
    troubles = [trouble for trouble in told["troubles"] if trouble["slice"] == name]
    bad = worries(found, troubles, _around(asking, found["now"], told))
    data = {
        "now": found["now"],
        "tag": tag_of_slice(events),
        "slice": {key: value for key, value in found.items() if key != "slivers"},
        "renewal_end": _iso(renewal_end(found)),
        "worries": [asdict(worry) for worry in bad],
        "keys": [_key(line) for line in found["keys"]],
        "operations": _operations(found, events),
        "timeline": timeline(found, events),
        "orders": {verb: asdict(order) for verb, order in ORDERS.items()},
        "power_verbs": POWER,
        "login": next((s["node"] for s in found["slivers"] if s["state"] == "running"), None),
    }
    return Page("slice.html", data | _nodes(found, troubles, query))


def history(asking: Asking, name: str, query: Query) -> Page:
    """A slice's timeline in a range, and its events."""
    with asking.svmd() as svmd:
        events = svmd.history(name, LONG_HISTORY)
        found = svmd.slice(name)
    found["slivers"].sort(key=in_order)
    failed = query.get("only") == "failed"
    begin, end = (_moment(query.get(word)) for word in ("from", "to"))
    shown = [event for event in events if not failed or event.get("ok") is False]
    shown = [event for event in shown if _between(event["at"], begin, end)]
    return Page(
        "history.html",
        {
            "now": found["now"],
            "tag": tag_of_slice(events),
            "slice": {"name": name, "leaselen": found["leaselen"]},
            "timeline": timeline(found, events, begin, end, failed=failed, most=MANY),
            "events": list(reversed(shown))[:MANY],
            "left_out": max(0, len(shown) - MANY),
            "query": {word: query.get(word, "") for word in ("from", "to", "only")},
        },
    )


def operation(asking: Asking, name: str, query: Query) -> Page:
    """One operation and its nodes' logs."""
    followed = asking.followed(name)
    tag = str(followed.version)  # before anything is read, so that it is never newer than what is shown
    with asking.svmd() as svmd:
        found = svmd.operation(name)
    ended = found["outcome"] is not None
    followed.wait_for(lambda it: False if ended else it.version > 0)
    nodes, notes, total = followed.snapshot()
    failures = [one.result() for one in nodes if one.state == "failed"]
    hints = retry_of(found["verb"], found["slice"], asking.flags) if failures else None
    order = {"failed": 0, "replaced": 1, "trying": 2, "ok": 3}
    nodes.sort(key=lambda one: (order[one.state], one.node))
    shown, at, of = paged(nodes, query)
    states = Counter(one.state for one in nodes)
    data = {
        "operation": found,
        "tag": tag,
        "total": total,
        "states": states,
        "waiting": max(0, total - len(nodes)),
        "nodes": [asdict(one) for one in shown],
        "notes": notes,
        "hints": hints(failures) if hints else [],
        "again": _again(found["verb"]) if found["outcome"] in ("partial", "failed") else None,
        "page": at,
        "pages": of,
    }
    return Page("operation.html", data)


def _again(verb: str) -> str | None:
    """The action of a button that asks for the rest, where a verb takes nothing but a slice, or its own file."""
    if verb in ("createslice", "newtickets"):
        return "repair"
    return verb if verb in ("renewslice", "rekey", "nukekeys", "newleases", "newvms") else None


def _nodes(found: Mapping[str, Any], troubles: Sequence[Mapping[str, Any]], query: Query) -> dict[str, Any]:
    """The grid: all nodes where they are few, else those with something wrong unless all are asked for."""
    ails: dict[str, list[str]] = {}
    for trouble in troubles:
        ails.setdefault(trouble["node"], []).append(str(trouble["what"]))
    rows = [{**each, "troubles": ails.get(each["node"], [])} for each in found["slivers"]]
    wrong = [row for row in rows if _is_wrong(row)]
    show = query.get("show") or ("all" if len(rows) <= MANY else "wrong")
    chosen = rows if show == "all" else wrong if show == "wrong" else [row for row in rows if row["state"] == show]
    shown, at, of = paged(chosen, query)
    counts = Counter(row["state"] for row in rows)
    return {
        "nodes": shown,
        "chosen": len(chosen),
        "show": show,
        "counts": counts,
        "wrong": len(wrong),
        "page": at,
        "pages": of,
    }


def _is_wrong(row: Mapping[str, Any]) -> bool:
    """Whether a node is not as somebody wants it; one that was told to stop is."""
    fine = row["state"] == "running" or (row["state"] == "stopped" and not row.get("died_at"))
    return not fine or bool(row["last_error"] or row["troubles"])


def _operations(found: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that go on, then those of the history, the newest first."""
    shown = {each["operation"]: {**each, "outcome": None} for each in reversed(found["operations"])}
    for event in reversed(events):
        one = shown.setdefault(
            event["operation"], {"operation": event["operation"], "verb": event["verb"], "outcome": "ended"}
        )
        detail = event.get("detail") or {}
        one.setdefault("at", event["at"])
        if event["type"] == "ended":
            one |= {"outcome": detail.get("outcome"), "ok": detail.get("ok"), "failed": detail.get("failed")}
        if event.get("ok") is False and event.get("reason"):
            one.setdefault("trouble", printable(f"{event['node'] or found['name']}: {event['reason']}"))
    listed = [one for one in shown.values() if str(one["verb"]) in USER_VERBS or one.get("trouble")]
    return [_whose(one) for one in listed]


def _whose(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "by_user": one["verb"] in set(Verb) and Verb(one["verb"]) in USER_VERBS}


def _key(line: str) -> dict[str, str]:
    from trust.sshkeys import parse_public_key

    key = parse_public_key(line)
    return {"line": line, "fingerprint": key.fingerprint, "comment": printable(key.comment)}


def _around(asking: Asking, now: str, told: Mapping[str, Any]) -> Around:
    return Around(datetime.fromisoformat(now), asking.certificate_end, told.get("roles", ()))


def in_order(row: Mapping[str, Any]) -> tuple[int, str, list[int]]:
    """IPv4 addresses as numbers have it, then others."""
    address = str(row.get("node") or "")
    parts = address.split(".")
    if all(part.isdecimal() for part in parts):
        return 0, "", [int(part) for part in parts]
    return 1, address, []


def paged(rows: Sequence[Any], query: Query) -> tuple[Sequence[Any], int, int]:
    """The rows of the page asked for, its number from 1, and how many pages there are."""
    pages = max(1, -(-len(rows) // MANY))
    said = query.get("page", "1")
    at = min(pages, max(1, int(said))) if said.isdecimal() and len(said) < 6 else 1
    return rows[(at - 1) * MANY : at * MANY], at, pages


def _moment(text: str | None) -> datetime | None:
    """A date of a range; one that makes no sense is none."""
    try:
        return day(text, datetime.fromisoformat("1970-01-02T00:00:00+00:00")) if text else None
    except Refusal:
        return None


def _between(at: str, begin: datetime | None, end: datetime | None) -> bool:
    moment = datetime.fromisoformat(at)
    return (begin is None or moment >= begin) and (end is None or moment <= end)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
