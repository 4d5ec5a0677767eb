"""The application: every address, each answered by one function of `pages`, `sites`, `creating` or `changes`."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request as Asked
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lifecycle.verbs import VERBS
from models.states import Verb
from rpc.problems import STATUS
from svm.output import say
from svm.web import creating, live, pages, sites
from svm.web.asking import Asking
from svm.web.changes import change
from svm.web.door import ENTRY, HEADERS, Door
from svm.web.pages import Page
from svm.web.peer import owner
from svm.web.words import FILTERS, typed
from trust.errors import Code, Refusal

HERE = Path(__file__).parent
MAX_FORM = 256 * 1024
Show = Callable[..., Page]


class Web:
    """One run: the door, svmd, and how pages are drawn."""

    def __init__(self, asking: Asking, door: Door) -> None:
        self.asking = asking
        self.door = door
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals.update(typed=typed, who=asking.who)

    def drawn(self, page: Page, asked: Asked) -> Response:
        """The page, or with `?format=json` what it shows."""
        if asked.query_params.get("format") == "json":
            return JSONResponse(page.data, page.status)
        query = {key: value for key, value in asked.query_params.items() if key not in ("format", "page")}
        text = self._templates.get_template(page.template).render(**page.data, path=asked.url.path, query_now=query)
        return HTMLResponse(text, page.status)

    def refused(self, refusal: Refusal, asked: Asked, status: int | None = None) -> Response:
        """What is wrong and what to do, as a page."""
        data = {"code": str(refusal.code), "reason": refusal.reason}
        inside = refusal.code is not Code.NOT_AUTHENTICATED and status != 421
        template = "refused.html" if inside else "outside.html"
        return self.drawn(Page(template, data, status or STATUS[refusal.code]), asked)

    def shows(self, show: Show, *names: str) -> Callable[[Asked], Response]:
        """An endpoint that draws `show`; `names` are the parts of the path that it takes."""

        def endpoint(asked: Asked) -> Response:
            words = [asked.path_params[name] for name in names]
            return self.drawn(show(self.asking, *words, asked.query_params), asked)

        return endpoint

    def enter(self, asked: Asked) -> Response:
        """The link, which works once. Its page leads on by itself: a redirect would lose a strict cookie."""
        if asked.method != "GET":
            return Response(status_code=204)
        if owner(asked.client or ("", 0), asked.scope["server"]) not in (None, 0, os.geteuid()):
            raise Refusal(Code.NOT_ALLOWED, "another user of this machine opened this link; it is for you alone")
        cookie = self.door.enter(asked.path_params["word"])
        return HTMLResponse(self._templates.get_template("enter.html").render(), headers={"Set-Cookie": cookie})

    async def change(self, asked: Asked) -> Response:
        """A button on a slice's page."""
        name, action = asked.path_params["name"], asked.path_params["action"]
        form = await _form(asked)
        operation, verb = await run_in_threadpool(change, self.asking, name, action, form)
        at_nodes = bool(VERBS[Verb(verb)].chain)
        return RedirectResponse(f"/operations/{operation}" if at_nodes else f"/slices/{name}", 303)

    async def create(self, asked: Asked) -> Response:
        """The form of a new slice."""
        made = await run_in_threadpool(creating.create, self.asking, await _form(asked))
        if isinstance(made, Page):
            return self.drawn(made, asked)
        return RedirectResponse(f"/operations/{made}", 303)

    def cancel(self, asked: Asked) -> Response:
        """The button on an operation's page."""
        operation = asked.path_params["operation"]
        with self.asking.svmd() as svmd:
            svmd.cancel(operation)
        return RedirectResponse(f"/operations/{operation}", 303)

    def events(self, of: Callable[..., Callable[[], str]], every: float, *names: str) -> Callable[[Asked], Response]:
        """An endpoint that says when a page has changed."""

        def endpoint(asked: Asked) -> Response:
            look = of(self.asking, *(asked.path_params[name] for name in names))
            known = asked.headers.get("last-event-id") or asked.query_params.get("known", "")
            return StreamingResponse(live.changes(look, every, known), media_type="text/event-stream")

        return endpoint


def create_app(asking: Asking, door: Door) -> ASGIApp:
    """The app, behind its door."""
    web = Web(asking, door)
    routes = [
        Route("/", lambda _: RedirectResponse("/slices"), methods=["GET"]),
        Route(f"{ENTRY}{{word}}", web.enter),
        Route("/slices", web.shows(pages.slices)),
        Route("/live", web.events(live.of_slices, live.LOOK)),
        Route("/slices/{name}", web.shows(pages.slice_page, "name")),
        Route("/slices/{name}/live", web.events(live.of_slice, live.LOOK, "name")),
        Route("/slices/{name}/history", web.shows(pages.history, "name")),
        Route("/slices/{name}/{action}", web.change, methods=["POST"]),
        Route("/operations/{operation}", web.shows(pages.operation, "operation")),
        Route("/operations/{operation}/live", web.events(live.of_operation, live.LOOK_CLOSELY, "operation")),
        Route("/operations/{operation}/cancel", web.cancel, methods=["POST"]),
        Route("/nodes", web.shows(sites.nodes)),
        Route("/nodes/{address}", web.shows(sites.node, "address")),
        Route("/new", web.shows(creating.new)),
        Route("/new", web.create, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    app = Starlette(routes=routes)

    async def refused(asked: Asked, error: Exception) -> Response:
        assert isinstance(error, Refusal)  # noqa: S101 - it is registered for these
        return await run_in_threadpool(web.refused, error, asked)

    async def no_route(asked: Asked, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return web.refused(Refusal(Code.NOT_FOUND, "there is no such page; see your slices"), asked, status)

    async def surprised(asked: Asked, error: Exception) -> Response:
        reason = f"internal error ({type(error).__name__}); load the page again, or use --debug to see more"
        say(f"{asked.method} {asked.url.path}: {reason}")
        return await run_in_threadpool(web.refused, Refusal(Code.INTERNAL, reason), asked)

    app.add_exception_handler(Exception, surprised)
    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(HTTPException, no_route)
    return Guarded(app, web)


class Guarded:
    """ASGI middleware: the door's check before, its headers after, every request."""

    def __init__(self, app: ASGIApp, web: Web) -> None:
        self._app = app
        self._web = web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        asked = Asked(scope, receive)
        try:
            self._web.door.check(asked.method, asked.url.path, _headers(asked))
        except Refusal as refusal:
            status = 421 if asked.headers.get("host") != self._web.door.address else None
            return await self._web.refused(refusal, asked, status)(scope, receive, with_headers)
        return await self._app(scope, receive, with_headers)


def _headers(asked: Asked) -> Mapping[str, str]:
    """Lower case; one that comes twice is joined, so that it is no longer what was expected."""
    found: dict[str, str] = {}
    for name, value in asked.headers.items():
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    return found


async def _form(asked: Asked) -> dict[str, str]:
    """An urlencoded form. Raises Refusal(BAD_INPUT) when it is none, or too long."""
    body = b""
    async for piece in asked.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise Refusal(Code.BAD_INPUT, f"the form is larger than {MAX_FORM // 1024} KiB; send less")
    if not asked.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Refusal(Code.BAD_INPUT, "this takes a form, application/x-www-form-urlencoded; use the page's own button")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Refusal(Code.BAD_INPUT, "the form is not in UTF-8 or has too many fields; use the page's own") from None
