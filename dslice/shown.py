"""What notebooks show: a slice as a table, an operation as a bar. Jupyter asks for it by `_repr_html_`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from html import escape
from time import monotonic
from typing import TYPE_CHECKING, Any

from dslice.errors import Error

if TYPE_CHECKING:
    from dslice.operation import Operation
    from dslice.result import Result
    from dslice.status import Status

SHOWN_EVERY = 0.2
"""Seconds between two looks of a bar that grows."""
_DAY = 86_400


def status_html(status: "Status") -> str:
    """A slice: a line about it, and a row for each node with its state and the time left."""
    heads = ("node", "name", "state", "left", "last error")
    rows = [(node.address, node.name, node.state, left(node.ends, status.now), node.error) for node in status.nodes]
    renews = " · autorenew on" if status.autorenew else ""
    return f"<p><b>{escape(str(status))}</b>{renews}</p>{_table(heads, rows)}"


def operation_html(operation: "Operation") -> str:
    """An operation: a bar, how many nodes have ended, and those that failed with the reason."""
    done = len(operation.nodes) + len(operation.failures)
    most = max(operation.total, done, 1)
    value = most if operation.ended else done
    how = operation.outcome or "going on"
    bar = f'<progress value="{value}" max="{most}"></progress>'
    words = f"<p><b>{escape(str(operation))}</b> {bar} {escape(operation.progress())} · {escape(how)}</p>"
    failures = [(each.node, each.step, each.reason) for each in operation.failures]
    return words + (_table(("node", "step", "reason"), failures) if failures else "")


def results_html(results: "Sequence[Result]", nodes: int) -> str:
    """The results that have come."""
    rows = [(each.node, str(each.status), f"{each.seconds:.2f}", each.stdout, each.stderr) for each in results]
    return f"<p>{len(rows)} of {nodes} nodes</p>{_table(('node', 'status', 'seconds', 'stdout', 'stderr'), rows)}"


def left(end: datetime | None, now: datetime) -> str:
    """The time until `end`: `13 d 4 h`, `3 h 20 min`, `2 min 5 s`."""
    if end is None:
        return ""
    seconds = int((end - now).total_seconds())
    if seconds <= 0:
        return "over"
    for unit, size, smaller, part in (("d", _DAY, "h", 3600), ("h", 3600, "min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // part} {smaller}"
    return f"{seconds // 60} min {seconds % 60} s"


def frame(status: "Status") -> Any:
    """A row for each node."""
    try:
        import pandas
    except ImportError:
        raise Error("not-found", "pandas is not installed; pip install pandas") from None
    heads = ("node", "name", "state", "ends", "error")
    rows = [(node.address, node.name, node.state, node.ends, node.error) for node in status.nodes]
    return pandas.DataFrame(rows, columns=list(heads))


@contextmanager
def bar_of(operation: "Operation") -> Iterator[Callable[[], None]]:
    """In a notebook's cell the operation's bar; the function shows how far it is now. Elsewhere nothing."""
    display = _display()
    if display is None:
        yield lambda: None
        return
    handle = display(operation, display_id=True)
    shown = monotonic()

    def show() -> None:
        nonlocal shown
        if operation.ended or monotonic() - shown >= SHOWN_EVERY:
            shown = monotonic()
            handle.update(operation)

    yield show


def _display() -> Any:
    """IPython's function, where this runs in a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if ipython is None or not hasattr(shell, "kernel"):
        return None
    return ipython.display.display


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
