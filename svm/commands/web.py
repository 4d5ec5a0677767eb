"""web: one's slices in a browser."""

import click

from svm.flags import current, flags
from trust.errors import Code, Refusal


@click.command()
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Listen on this port, not on a free one.")
@flags
def web(no_browser: bool, port: int) -> None:
    """Show your slices in a browser.

    A server for you alone, on 127.0.0.1, until Ctrl-C. The link that it opens works once.
    """
    from svm.home import Home

    try:
        from svm.web.asking import Asking
        from svm.web.routes import PROGRAM
        from svm.web.server import serve
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("jinja2", "markupsafe", "starlette", "uvicorn"):
            raise
        reason = f"{missing} is not installed here: pip install 'dslice[web]'"
        raise Refusal(Code.NOT_FOUND, reason) from None
    serve(PROGRAM, Asking(Home.find(), current()), port=port, browser=not no_browser)
