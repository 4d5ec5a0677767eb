"""What the user sees: the howto's lines on stdout, progress, summary and hints on stderr, or JSON lines.

Standard library and click only: this is loaded at every start.
"""

import json
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import TextIO

import click

from svm.exit_codes import status_of_nodes
from svm.results import NodeResult, summary_line
from trust.errors import Code, Refusal, printable

SAID_EVERY = 10
"""Seconds between two lines of progress, with -v."""
MAX_LINE = 400
"""Of a line with our words and a node's."""


Retry = Callable[[list[NodeResult]], list[str]]
"""The commands to type after these failures."""


def colourful() -> bool:
    """Whether a terminal may be sent colours: unless NO_COLOR is set (no-color.org), or it can do nothing."""
    return not os.environ.get("NO_COLOR") and not is_dumb()


def is_dumb() -> bool:
    """Whether the terminal says of itself that it only prints."""
    return os.environ.get("TERM") == "dumb"


def say(text: str) -> None:
    """One line on stderr, for people."""
    click.echo(text, err=True)


def line(text: str) -> None:
    """One line on stdout, at once."""
    click.echo(text)


def json_line(kind: str, fields: Mapping[str, object]) -> None:
    """One JSON object on a line of stdout, in ASCII: it is for programs, whatever the terminal's encoding."""
    click.echo(json.dumps({"type": kind} | dict(fields) | {"type": kind}))


def rows(found: Iterable[Mapping[str, object]], text: Callable[[Mapping[str, object]], str], *, as_json: bool) -> None:
    """A list, one a line: `text(row)`, or the row itself as JSON."""
    for row in found:
        if as_json:
            json_line("row", row)
        else:
            line(text(row))


def refused(refusal: Refusal, status: int, *, as_json: bool, verbose: bool = False) -> None:
    """A whole command refused: one line, and in JSON the summary that always stands last.

    The request's id, by which its operator finds what svmd's log has of it, follows a fault of svmd's, and all with -v.
    """
    if not as_json:
        request = _ids(refusal, "request").get("request")
        shown = request and (verbose or refusal.code is Code.INTERNAL)
        say(f"svm: {refusal.reason}" + (f" (request {request})" if shown else ""))
        return
    ids = _ids(refusal, "operation", "request")
    json_line("error", {"code": str(refusal.code), "reason": refusal.reason, **ids})
    json_line("summary", {"operation": ids.get("operation"), "ok": 0, "failed": 0, "exit": status})


def _ids(refusal: Refusal, *names: str) -> dict[str, str]:
    return {name: found for name in names if isinstance(found := refusal.detail.get(name), str)}


class Report:
    """Follows an operation for the user: a line per node as it ends, a status line on a terminal, then the summary."""

    def __init__(self, *, as_json: bool, retry: Retry | None = None, verbose: bool = False) -> None:
        self.results: list[NodeResult] = []
        self._counted = self._ok = self._failed = 0
        self.as_json = as_json
        self._retry = retry
        # A pager or filter at the same terminal writes when it likes: a line that is replaced in place would tear.
        self._live = sys.stderr.isatty() and not is_dumb() and not as_json and not _is_pipe(sys.stdout)
        self._verbose = verbose and not self._live
        self._shown = ""
        self._said_at = monotonic()

    @property
    def ok(self) -> int:
        self._count()
        return self._ok

    @property
    def failed(self) -> int:
        self._count()
        return self._failed

    def _count(self) -> None:
        """What has come since the last look: of thousands of nodes each is counted once."""
        for result in self.results[self._counted :]:
            self._ok += result.ok
            self._failed += not result.ok and not result.replaced
        self._counted = len(self.results)

    @property
    def shows_progress(self) -> bool:
        """Whether anybody is to see it."""
        return self._live or self._verbose

    def node(self, result: NodeResult) -> None:
        """A node has ended."""
        self.results.append(result)
        self.pause()
        if self.as_json:
            json_line("node", _node_fields(result))
        else:
            line(_node_line(result))

    def progress(self, text: str) -> None:
        """Show `text` in place on a terminal, until the next line; elsewhere, with -v, now and then on a line."""
        if self._verbose and monotonic() - self._said_at >= SAID_EVERY:
            self._said_at = monotonic()
            say(text)
        if not self._live:
            return
        shown = text[: _columns() - 1]
        if shown != self._shown:
            click.echo(f"\r\x1b[K{shown}", err=True, nl=False)
            self._shown = shown

    def pause(self) -> None:
        """Take the status line away, so that a line can be printed."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = ""

    def summary(self, operation: str | None, refusal: Refusal | None = None, status: int | None = None) -> int:
        """Say how it ended and what to type next; the exit status. `refusal`: why the operation itself failed."""
        self.pause()
        if status is None:
            status = status_of_nodes(self.ok, self.failed)
        if self.as_json:
            if refusal is not None:
                json_line("error", {"code": str(refusal.code), "reason": refusal.reason})
            fields = {"operation": operation, "ok": self.ok, "failed": self.failed, "exit": status}
            json_line("summary", fields)
            return status
        if self.results:
            say(summary_line(self.results))
        if refusal is not None:
            say(f"svm: {refusal.reason}")
        failures = [result for result in self.results if not result.ok and not result.replaced]
        if failures and self._retry is not None:
            for hint in self._retry(failures):
                say(hint)
        return status


def hint(report: Report, text: str) -> None:
    """What to type next, for people, when at least one node got that far and none has to be tried again first."""
    if report.ok and not report.failed and not report.as_json:
        say(text)


def command(*words: str) -> str:
    """A command as one can paste it."""
    return shlex.join(["svm", *words])


def _node_line(result: NodeResult) -> str:
    if result.ok:
        return f"Success on {result.node}{result.note and f': {printable(result.note)}'}"
    return f"{click.style('Error', fg='red')} on {result.node}: {printable(result.reason or 'failed without a reason')}"


def _node_fields(result: NodeResult) -> dict[str, object]:
    fields: dict[str, object] = {
        "node": result.node,
        "ok": result.ok,
        "code": result.code,
        "reason": printable(result.reason) if result.reason else None,
    }
    if result.note:
        fields["note"] = printable(result.note)
    if result.replaced:
        fields["replaced"] = True
    if result.ends:
        fields["old"], fields["new"] = result.ends
    return fields


def _is_pipe(stream: TextIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # no file behind it
        return False


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
