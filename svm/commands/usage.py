"""usage: how long one's slivers were granted and used, as plc has it from the nodes."""

import click

from svm.flags import current, flags


@click.command()
@click.option("--by", type=click.Choice(["slice", "node"]), default="slice", help="A total for each (default slice).")
@click.option("--since", metavar="DATE", help="From then on (default 30 days back).")
@click.option("--until", metavar="DATE", help="Up to then (default now).")
@flags
def usage(by: str, since: str | None, until: str | None) -> None:
    """Show how many sliver-hours you were granted and used.

    Nodes tell plc within ten minutes.
    """
    from plc.client import Plc
    from svm.arguments import past
    from svm.home import Home
    from svm.used import show

    begin, end = (past(text) if text else None for text in (since, until))
    home = Home.find()
    with Plc(home.require_plc(), home.require_certificate()) as plc:
        first, last, totals = plc.usage(by, begin, end)
    show(by, first, last, totals, as_json=current().json)
