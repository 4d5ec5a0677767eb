"""getads: which nodes there are."""

from collections.abc import Mapping

import click

from svm.flags import current, flags
from svm.output import rows
from svm.session import connect


@click.command()
@click.argument("agent", required=False)
@flags
def getads(agent: str | None) -> None:
    """List the nodes that agents advertise.

    With AGENT, list only that agent's nodes.
    """
    rows(connect().ads(agent), _address, as_json=current().json)


def _address(ad: Mapping[str, object]) -> str:
    return str(ad["address"])
