"""What the operator's verbs share: where they act, how they refuse, what they print."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from admin.plc.context import Refused
from svm.exit_codes import status_of_nodes
from svm.output import json_line, line, say
from trust.errors import Refusal

if TYPE_CHECKING:
    from admin.lab.reach import Reach
    from trust.orders import Order

Function = TypeVar("Function", bound=Callable[..., Any])

NODES_SECONDS = 45  # that a verb waits for nodes, which look every 20 s
LOOK = 0.5  # seconds between two looks whether they have obeyed


@dataclass(frozen=True, slots=True)
class Here:
    """Where a verb acts, and how it prints."""

    folder: Path | None
    as_me: bool
    json: bool

    def reach(self) -> "AbstractContextManager[Reach]":
        from admin.lab import reach

        return reach.reach(self.folder, as_me=self.as_me)


def operators(function: Function) -> Function:
    """Gives a verb its options `--home`, `--as-me` and `--json`, as its first argument; a refusal is one line."""

    @wraps(function)
    def verb(folder: Path | None, as_me: bool, as_json: bool, **given: Any) -> None:
        try:
            status = function(Here(folder, as_me, as_json), **given)
        except Refusal as refusal:
            raise Refused(refusal) from refusal
        if status:
            sys.exit(status)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
        click.option("--as-me", is_flag=True, help="As an admin, with the certificate in $PLANETLAB_HOME."),
        click.option(
            "--home",
            "folder",
            type=click.Path(path_type=Path, file_okay=False),
            help="A testbed's folder (default: plc's settings in the environment, else $DSLICE_HOME, else .dslice).",
        ),
    ):
        verb = option(verb)
    return verb  # type: ignore[return-value]  # click's commands are made of it


reason_option = click.option("--reason", required=True, help="Owners read it, and plc's journal keeps it.")


def follow(here: Here, reach: "Reach", orders: Sequence["Order"], seconds: float = NODES_SECONDS) -> int:
    """A line for each node that has obeyed, as it says so, at which svmd then looks; then those that have not yet. The
    exit status."""
    from admin.lab.looking import look

    waiting = {order.jti: order.node.name for order in orders if order.node is not None}
    done: list[str] = []
    end = time.monotonic() + seconds
    while waiting:
        obeyed = reach.plc.obeyed([*waiting])
        for jti in [jti for jti in waiting if obeyed.get(jti, True)]:
            done.append(waiting.pop(jti))
            _result(here, done[-1], None)
        if not waiting or time.monotonic() > end:
            break
        time.sleep(LOOK)
    for node in waiting.values():
        _result(here, node, "it has not heard of it yet; it obeys when it asks plc the next time")
    if done:
        look(reach, done)
    return status_of_nodes(len(done), len(waiting))


def _result(here: Here, node: str, reason: str | None) -> None:
    if here.json:
        json_line("node", {"node": node, "ok": reason is None, "reason": reason})
    else:
        line(f"Success on {node}" if reason is None else f"Waiting for {node}: {reason}")


def told(here: Here, text: str, **fields: object) -> None:
    """That something is done: a sentence for people on stderr, an object for programs."""
    if here.json:
        json_line("done", fields)
    else:
        say(text)
