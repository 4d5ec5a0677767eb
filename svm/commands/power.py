"""start, stop, restart, reset: a slice's VMs, which keep their places and leases."""

import click

from svm.arguments import SLICE
from svm.commands.steps import NODES
from svm.flags import current, flags
from svm.request import Request
from svm.results import NodeResult
from svm.retry import same_nodes
from svm.session import connect, nodes_of, perform, remember


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@NODES
@flags
def start(name: str, words: tuple[str, ...]) -> int:
    """Start VMs that do not run.

    On the nodes given, or on all.
    """
    return _order("start", name, words)


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@NODES
@flags
def stop(name: str, words: tuple[str, ...]) -> int:
    """Stop VMs; they keep their files.

    On the nodes given, or on all. They keep their places and leases too, and are renewed; svm start starts them.
    """
    return _order("stop", name, words)


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@NODES
@flags
def restart(name: str, words: tuple[str, ...]) -> int:
    """Stop VMs and start them.

    On the nodes given, or on all.
    """
    return _order("restart", name, words)


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@NODES
@flags
def reset(name: str, words: tuple[str, ...]) -> int:
    """Give VMs a fresh root file system.

    On the nodes given, or on all. What is in the slice's home stays, and who may log in; all else is lost. VMs without
    a root file system of their own have nothing to reset.
    """
    return _order("reset", name, words)


def _order(verb: str, name: str, words: tuple[str, ...]) -> int:
    given, svmd = current(), connect()

    def retry(failures: list[NodeResult]) -> list[str]:
        return same_nodes(verb, name, failures, given)

    status, report = perform(svmd, Request(verb, name, nodes=nodes_of(svmd, name, words)), retry)
    if report.ok:
        remember(svmd, name)
    return status
