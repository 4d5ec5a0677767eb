"""What verbs need at hand: the flags, svmd as this user, and an operation asked for and followed to its end.

Everything heavy (TLS, signing) is imported when a verb calls for it, so that help and completion stay quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from svm.arguments import nodes
from svm.flags import Flags, current
from svm.output import Retry
from trust.errors import Refusal

if TYPE_CHECKING:
    from svm.client import Svmd
    from svm.output import Report
    from svm.request import Request


def connect(flags: Flags | None = None) -> Svmd:
    """svmd as the user whose key directory this is. Raises Refusal when there is no good certificate."""
    from svm.client import Svmd
    from svm.home import Home

    svmd = Svmd(Home.find(), flags or current())
    click.get_current_context().call_on_close(svmd.close)
    return svmd


def nodes_of(svmd: Svmd, slice_name: str, words: Sequence[str]) -> tuple[str, ...]:
    """Addresses from `words` (`svm.arguments.nodes`), which may be names of the slice's nodes too. Raises Refusal."""
    try:
        return nodes(words)
    except Refusal:
        named = {sliver["name"]: sliver["node"] for sliver in svmd.slice(slice_name)["slivers"]}
        return nodes([named.get(word, word) for word in words])


def perform(svmd: Svmd, request: Request, retry: Retry | None = None) -> tuple[int, Report]:
    """Ask for an operation and show it; the exit status and what was shown."""
    from svm.following import perform as follow_it

    return follow_it(svmd, request, current(), retry)


def ask(request: Request, retry: Retry | None = None) -> int:
    """`perform` with a connection of its own, for its exit status."""
    return perform(connect(), request, retry)[0]


def somebody_is_there() -> bool:
    """Whether this is a terminal whose user can be asked."""
    return not current().json and sys.stdin.isatty() and sys.stderr.isatty()


def remember(svmd: Svmd, slice_name: str) -> None:
    """Write the slice's ssh_config and known_hosts; a convenience, so nothing that goes wrong here is told."""
    from svm.sshconfig import hosts, write

    with suppress(Refusal):
        write(svmd.home.directory, slice_name, hosts(svmd.slice(slice_name)))
