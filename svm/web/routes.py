"""What `svm web` serves beside what every program of pages does: nodes, new slices, and all that changes something."""

from collections.abc import Sequence

from starlette.routing import BaseRoute, Route

from svm.web import creating, sites
from svm.web.app import Program, Web
from svm.web.changes import cancel, change


def routes(web: Web) -> Sequence[BaseRoute]:
    """By address, each answered by one function of `sites`, `creating` or `changes`."""
    return [
        Route("/slices/{name}/{action}", web.changes(change, "name", "action"), methods=["POST"]),
        Route("/operations/{operation}/cancel", web.changes(cancel, "operation"), methods=["POST"]),
        Route("/nodes", web.shows(sites.nodes)),
        Route("/nodes/{address}", web.shows(sites.node, "address")),
        Route("/new", web.shows(creating.new)),
        Route("/new", web.changes(creating.create), methods=["POST"]),
    ]


PROGRAM = Program("svm web", (("/slices", "Slices"), ("/nodes", "Nodes"), ("/new", "New slice")), routes)
