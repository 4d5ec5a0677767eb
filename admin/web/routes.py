"""What `dslice web` serves beside what every program of pages does."""

from collections.abc import Sequence
from pathlib import Path

from starlette.routing import BaseRoute, Route

from admin.web import changes, pages
from svm.web.app import Program, Web
from svm.web.live import LOOK


def routes(web: Web) -> Sequence[BaseRoute]:
    """By address, each answered by one function of `pages` or `changes`."""
    return [
        Route("/slices", web.shows(pages.slices)),
        Route("/slices/{name}/evict", web.changes(changes.evict, "name"), methods=["POST"]),
        Route("/slices/{name}/delete", web.changes(changes.delete, "name"), methods=["POST"]),
        Route("/nodes", web.shows(pages.nodes)),
        Route("/nodes/{which}", web.shows(pages.node, "which")),
        Route("/nodes/{which}/drain", web.changes(changes.drain, "which"), methods=["POST"]),
        Route("/nodes/{which}/undrain", web.changes(changes.undrain, "which"), methods=["POST"]),
        Route("/orphans", web.shows(pages.orphans)),
        Route("/orphans/live", web.events(pages.of_orphans, LOOK)),
        Route("/orphans/look", web.changes(changes.look), methods=["POST"]),
        Route("/orphans/free", web.changes(changes.free), methods=["POST"]),
        Route("/orders/{key}", web.shows(pages.orders, "key")),
        Route("/orders/{key}/live", web.events(pages.of_orders, LOOK, "key")),
        Route("/usage", web.shows(pages.usage)),
    ]


PROGRAM = Program(
    "dslice web",
    (("/slices", "Slices"), ("/nodes", "Nodes"), ("/orphans", "Orphans"), ("/usage", "Usage")),
    routes,
    Path(__file__).parent / "templates",
)
