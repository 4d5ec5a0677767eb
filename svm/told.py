"""One line of a slice's history, for people."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from svm.columns import stamp
from svm.output import MAX_LINE
from trust.errors import printable


def told(event: Mapping[str, Any]) -> str:
    """An event of `GET /slices/{name}/history`, with its verb."""
    words = [stamp(datetime.fromisoformat(event["at"])), event["verb"]]
    if event["node"]:
        words.append(event["node"])
    words.append(_what(event))
    if event["after"] and event["after"] != event["before"]:
        words.append(f"({event['before'] or 'new'} → {event['after']})")
    if event["actor"] != "user":
        words.append(f"[{event['actor']}]")
    return printable(" ".join(words), MAX_LINE)


def _what(event: Mapping[str, Any]) -> str:
    detail = event["detail"] or {}
    if event["type"] == "started":
        return "asked for"
    if event["type"] == "ended":
        ended = f"ended: {detail.get('outcome')}"
        return (
            f"{ended}, {event['reason'] or detail.get('reason')}" if event["reason"] or detail.get("reason") else ended
        )
    if event["type"] == "note":
        return event["reason"] or "noted"
    verdict = {True: "ok", False: "failed", None: "again"}[event["ok"]]
    kind = f"{event['kind']} {verdict}" if event["kind"] else verdict
    return f"{kind}: {event['reason']}" if event["reason"] else kind
