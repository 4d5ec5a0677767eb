"""newleases and newvms: the lower-level commands of the howto, for handling partial failures."""

import click

from svm.arguments import SLICE, complete_nodes
from svm.flags import current, flags
from svm.output import command, hint
from svm.request import Request
from svm.results import NodeResult
from svm.retry import lower_commands
from svm.session import connect, nodes_of, perform, remember

NODES = click.argument("words", nargs=-1, metavar="[NODE]...", shell_complete=complete_nodes)


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@NODES
@flags
def newleases(name: str, words: tuple[str, ...]) -> int:
    """Redeem a slice's tickets for leases.

    On the nodes given, or on all that wait for it.
    """
    given = current()

    def retry(failures: list[NodeResult]) -> list[str]:
        return lower_commands(name, failures, given, only_leases=True)

    svmd = connect()
    request = Request("newleases", name, nodes=nodes_of(svmd, name, words))
    status, report = perform(svmd, request, retry)
    hint(report, f"next: {command('newvms', name)}")
    return status


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@NODES
@flags
def newvms(name: str, words: tuple[str, ...]) -> int:
    """Use a slice's leases to create VMs.

    On the nodes given, or on all that wait for it.
    """
    given = current()
    svmd = connect()
    request = Request("newvms", name, nodes=nodes_of(svmd, name, words))
    status, report = perform(svmd, request, lambda failures: lower_commands(name, failures, given))
    if report.ok:
        remember(svmd, name)
    return status
