"""The page that a link in a letter opens: it shows what extending gives, and extends when its button is pressed.

It stands at an address of its own and asks for no certificate: the link is all that a reader has. So it knows no call
of svmd's, and a link does nothing else. GET changes nothing, for mail scanners open links; POST acts, once.
"""

import logging
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, FastAPI, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from lifecycle import links, operations
from lifecycle.links import PATH, Link, Offer
from lifecycle.operations import LETTER, OperationRequest, Started, Verb
from models.states import SliceState
from rpc.problems import STATUS
from rpc.server import application, open_route
from svm.service import linkpage
from svm.service.context import Service
from trust.actions import Action
from trust.documents import verify_delegation
from trust.errors import Code, Refusal

Word = Annotated[str, Path(max_length=200)]

log = logging.getLogger(__name__)


class OverError(Exception):
    """This link does nothing any more; the line says why, and what to do."""


def create_pages(service: Service) -> FastAPI:
    """`GET|POST /extend/{word}`."""
    app = application("dslice links")
    app.add_exception_handler(OverError, _on_over)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(HTTPException, _on_nothing)
    for error in (DBAPIError, PoolTimeoutError):
        app.add_exception_handler(error, _on_no_database)

    @app.get(PATH + "{word}")
    @open_route
    def show(word: Word) -> Response:
        with service.engine.connect() as connection:
            link = _read(service, word)
            offer = _known(connection, link)
            if offer.used_at is not None:
                return _page(linkpage.used(offer, _operation(connection, offer.operation)))
            _permit(offer, link)
        return _page(linkpage.asks(offer))

    @app.post(PATH + "{word}")
    @open_route
    def extend(word: Word, after: BackgroundTasks) -> Response:
        link = _read(service, word)
        with service.engine.begin() as connection:
            started = _begin(connection, service, link)
        log.info("operation asked for by a link", extra={"operation": str(started.operation), "slice": started.slice})
        after.add_task(service.publish, started.publish)
        return RedirectResponse(word, 303, headers=linkpage.HEADERS)

    return app


def _begin(connection: Connection, service: Service, link: Link) -> Started:
    """A renewal, and that the link was used, in one transaction: what is refused leaves the link as it was."""
    service.store.require_fresh(Action.RENEW)
    first, offer = links.use(connection, link), _known(connection, link)
    if not first:
        raise OverError(linkpage.used_before(offer))
    permit = _permit(offer, link)
    row = operations.lock_named(connection, offer.name)
    if row is None or row.id != link.slice:
        raise OverError(linkpage.deleted(offer))
    verify_delegation(permit, store=service.store, audience=service.identity)
    wanted = OperationRequest(Verb.RENEWSLICE, offer.name, offer.owner, actor=LETTER)
    started = operations.start(connection, wanted)
    links.asked(connection, link, started.operation)
    return started


def _read(service: Service, word: str) -> Link:
    link = Link.read(word, service.seal)
    if link is None:
        raise Refusal(Code.NOT_FOUND, linkpage.UNKNOWN)
    return link


def _known(connection: Connection, link: Link) -> Offer:
    offer = links.look(connection, link)
    if offer is None:
        raise OverError(linkpage.FORGOTTEN)
    return offer


def _permit(offer: Offer, link: Link) -> str:
    """The owner's permission. Raises OverError without it, for a slice that is gone and for a link that is too late."""
    if offer.state is not SliceState.OPEN:
        raise OverError(linkpage.deleted(offer))
    if link.deadline <= offer.now:
        raise OverError(linkpage.too_late(offer, link))
    if offer.permit is None:
        raise OverError(linkpage.no_permission(offer))
    return offer.permit


def _operation(connection: Connection, id: UUID | None) -> operations.Operation | None:
    try:
        return operations.read(connection, id) if id else None
    except Refusal:  # forgotten
        return None


def _page(body: str, status: int = 200) -> Response:
    return HTMLResponse(body, status, headers=linkpage.HEADERS)


def _on_over(_request: Request, error: Exception) -> Response:
    return _page(linkpage.line(str(error)), HTTPStatus.GONE)


def _on_refusal(_request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)  # noqa: S101 - registered for this type only
    return _page(linkpage.line(refusal.reason), STATUS[refusal.code])


def _on_nothing(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    said = linkpage.UNKNOWN if error.status_code == HTTPStatus.NOT_FOUND else linkpage.NO_CALL
    return _page(linkpage.line(said), error.status_code)


def _on_no_database(_request: Request, error: Exception) -> Response:
    log.error("no database for a link: %s", error)
    return _page(linkpage.line(linkpage.TROUBLE), HTTPStatus.SERVICE_UNAVAILABLE)
