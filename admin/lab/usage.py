"""`dslice usage`: how long slivers were granted and used, by whom and where."""

import click

from admin.lab.verbs import Here, operators


@click.command()
@click.option("--by", type=click.Choice(["user", "site", "slice", "node"]), default="user", help="A total for each.")
@click.option("--since", metavar="DATE", help="From then on (default 30 days back).")
@click.option("--until", metavar="DATE", help="Up to then (default now).")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, with a line of heads.")
@operators
def usage(here: Here, by: str, since: str | None, until: str | None, as_csv: bool) -> None:
    """Show how many sliver-hours were granted and used.

    From plc's ledger, which nodes fill: they tell it within ten minutes, and again what it may have lost.
    """
    from svm.arguments import past
    from svm.used import show

    if as_csv and here.json:
        raise click.UsageError("choose one of --csv and --json")
    begin, end = (past(text) if text else None for text in (since, until))
    with here.reach() as reach:
        first, last, totals = reach.plc.usage(by, begin, end, everyones=True)
    show(by, first, last, totals, as_json=here.json, as_csv=as_csv)
