"""`dslice web`."""

import click

from admin.lab.verbs import Here, operators


@click.command()
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Listen on this port, not on a free one.")
@operators
def web(here: Here, no_browser: bool, port: int) -> None:
    """Show all slices and nodes in a browser.

    A server for you alone, on 127.0.0.1, until Ctrl-C. The link that it opens works once.
    """
    from admin.web.everyones import Operating
    from admin.web.routes import PROGRAM
    from svm.flags import Flags
    from svm.web.server import serve

    with here.reach() as reach:
        serve(PROGRAM, Operating(reach, Flags(json=here.json)), port=port, browser=not no_browser)
