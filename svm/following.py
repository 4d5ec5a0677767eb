"""Follow an operation on the screen until it ends, or until Ctrl-C: then it goes on without us."""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from time import monotonic
from typing import Any

from svm.client import Svmd, moment
from svm.exit_codes import DONE, FAILED, INTERRUPTED, SOME_FAILED, status_of_refusal
from svm.flags import Flags
from svm.output import Report, Retry, json_line, say
from svm.request import Request
from svm.results import node_result, nodes_in_all, refusal_of

RATED_AFTER = 2  # seconds from which on a rate says something
WIDTH = 16  # characters of the bar
TIME = "%Y-%m-%d %H:%M:%S UTC"


def perform(svmd: Svmd, request: Request, flags: Flags, retry: Retry | None = None) -> tuple[int, Report]:
    """Ask for an operation and follow it; the exit status and what was shown."""
    with _interruptible(f"the request may have reached svmd; see: svm watch {request.slice}", flags):
        started = svmd.start(request)
    if flags.verbose:
        say(f"operation {started.operation}, request {svmd.request_id}")
    return follow(svmd, started.operation, flags, retry=retry, title=_title(request))


def follow(
    svmd: Svmd,
    operation: str,
    flags: Flags,
    *,
    retry: Retry | None = None,
    title: str = "",
) -> tuple[int, Report]:
    """Show each event of an operation as it comes; the exit status is the operation's."""
    report = Report(as_json=flags.json, retry=retry, verbose=flags.verbose)
    with _interruptible(f"it continues; follow it with: svm watch {operation}", flags, operation, report):
        total, began, ended = 0, monotonic(), None
        for event in svmd.events(operation):  # to the stream's end: then its connection serves the next call
            total = nodes_in_all(event) or total
            if event["type"] == "ended":
                ended = event
                continue
            _show(report, event, as_json=flags.json)
            if total and report.shows_progress:
                report.progress(f"{title}: {progress(report, total, monotonic() - began)}{_trouble(event)}")
        if ended is not None:
            return _ended(report, operation, ended), report
    raise AssertionError("a stream ends with `ended` or a Refusal")


def _show(report: Report, event: Mapping[str, Any], *, as_json: bool) -> None:
    match event["type"]:
        case "node":
            report.node(node_result(event, _renewal(event.get("detail") or {})))
        case "note" if event.get("reason") and (event.get("ok") is not False or event.get("kind") != "newtickets"):
            # A refusal of newtickets is the operation's own: its end says it.
            report.pause()
            if as_json:
                json_line("note", {"reason": event["reason"]})
            else:
                say(str(event["reason"]))


def _trouble(event: Mapping[str, Any]) -> str:
    """That a step is tried again, while it is."""
    if event["type"] != "step" or event.get("ok") is not None or not event.get("reason"):
        return ""
    return f" · trying {event['node']} again: {event['reason']}"


def _renewal(detail: Mapping[str, Any]) -> str:
    """Old and new end on a terminal; that a node granted less than asked is said everywhere."""
    if "new" not in detail:
        return ""
    new = f"{moment(detail['new']).astimezone(UTC):{TIME}}"
    if detail.get("short"):
        return f"granted less than asked, until {new}"
    if "old" in detail and detail["old"] and sys.stdout.isatty():
        return f"{moment(detail['old']).astimezone(UTC):{TIME}} → {new}"
    return ""


def _ended(report: Report, operation: str, event: Mapping[str, Any]) -> int:
    outcome, refusal = (event.get("detail") or {}).get("outcome"), refusal_of(event)
    if outcome in ("done", "partial"):
        return report.summary(operation, status=DONE if outcome == "done" else SOME_FAILED)
    if outcome == "cancelled":
        return report.summary(operation, refusal, SOME_FAILED if report.ok else FAILED)
    if refusal is None or report.results:
        return report.summary(operation, status=FAILED)
    return report.summary(operation, refusal, status_of_refusal(refusal.code))


@contextmanager
def _interruptible(
    advice: str, flags: Flags, operation: str | None = None, report: Report | None = None
) -> Iterator[None]:
    """Ctrl-C ends the command with 130 and says how to go on watching."""
    try:
        yield
    except KeyboardInterrupt:
        shown = report if report is not None else Report(as_json=flags.json)
        shown.pause()
        say(f"\n{advice}" if sys.stderr.isatty() else advice)
        if flags.json:
            fields = {"operation": operation, "ok": shown.ok, "failed": shown.failed, "exit": INTERRUPTED}
            json_line("summary", fields)
        sys.exit(INTERRUPTED)


def _title(request: Request) -> str:
    return f"{request.verb} {request.slice}".strip()


def progress(report: Report, total: int, seconds: float) -> str:
    """Nodes that have ended of `total`, after so many seconds; one that another replaces counts with the other."""
    ended = report.ok + report.failed
    total = max(total, ended)
    done = f"{bar(ended, total)} {ended} of {total} nodes"
    if ended and seconds >= RATED_AFTER:
        rate = ended / seconds
        done += f" · {rate:.1f}/s · {math.ceil((total - ended) / rate)} s left"
    return f"{done} · {report.failed} failed" if report.failed else done


def bar(ended: int, total: int) -> str:
    """As `[####    ]`."""
    full = WIDTH * ended // total
    return f"[{'#' * full}{' ' * (WIDTH - full)}]"
