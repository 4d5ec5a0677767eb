"""What `svm web` and `dslice web` share: pages from templates, refusals, forms, the link, the door before it."""

import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request as Asked
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rpc.problems import STATUS
from svm.output import say
from svm.web import live, pages
from svm.web.asking import Asking
from svm.web.door import ENTRY, HEADERS, Door
from svm.web.pages import Page
from svm.web.peer import owner
from svm.web.words import FILTERS, typed
from trust.errors import Code, Refusal

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
MAX_FORM = 256 * 1024
MAX_FIELDS = 500
Show = Callable[..., Page]


@dataclass(frozen=True, slots=True)
class Program:
    """A command that serves pages.

    Args:
        command: as it is typed.
        tabs: address and word of each page that every page leads to; the first is where the link leads.
        routes: what it serves beside what all do.
        templates: a folder with templates that stand before those of the same name here, which they extend as
            `shared/NAME`.
    """

    command: str
    tabs: Sequence[tuple[str, str]]
    routes: "Callable[[Web], Sequence[BaseRoute]]"
    templates: Path | None = None


class Web:
    """One run: the door, svmd, and how pages are drawn."""

    def __init__(self, program: Program, asking: Asking, door: Door) -> None:
        self.program = program
        self.asking = asking
        self.door = door
        shared = FileSystemLoader(TEMPLATES)
        own = [FileSystemLoader(program.templates)] if program.templates else []
        loader = ChoiceLoader([*own, shared, PrefixLoader({"shared": shared})])
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self._templates.filters.update(FILTERS)
        self._templates.globals.update(typed=typed, who=asking.who, tabs=program.tabs, program=program.command)

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

    def changes(
        self, change: Callable[..., str | Page], *names: str
    ) -> Callable[[Asked], Coroutine[Any, Any, Response]]:
        """An endpoint for a form: `change` says which page comes next, or gives the form's again with what is wrong."""

        async def endpoint(asked: Asked) -> Response:
            words = [asked.path_params[name] for name in names]
            found = await run_in_threadpool(change, self.asking, *words, await _form(asked))
            return self.drawn(found, asked) if isinstance(found, Page) else RedirectResponse(found, 303)

        return endpoint

    def events(self, of: Callable[..., Callable[[], str]], every: float, *names: str) -> Callable[[Asked], Response]:
        """An endpoint that says when a page has changed."""

        def endpoint(asked: Asked) -> Response:
            look = of(self.asking, *(asked.path_params[name] for name in names))
            known = asked.headers.get("last-event-id") or asked.query_params.get("known", "")
            return StreamingResponse(live.changes(look, every, known), media_type="text/event-stream")

        return endpoint


def create_app(program: Program, asking: Asking, door: Door) -> ASGIApp:
    """The app, behind its door."""
    web = Web(program, asking, door)
    first = program.tabs[0][0]
    routes = [
        Route("/", lambda _: RedirectResponse(first), methods=["GET"]),
        Route(f"{ENTRY}{{word}}", web.enter),
        *program.routes(web),
        Route("/slices", web.shows(pages.slices)),
        Route("/live", web.events(live.of_slices, live.LOOK)),
        Route("/slices/{name}", web.shows(pages.slice_page, "name")),
        Route("/slices/{name}/live", web.events(live.of_slice, live.LOOK, "name")),
        Route("/slices/{name}/history", web.shows(pages.history, "name")),
        Route("/operations/{operation}", web.shows(pages.operation, "operation")),
        Route("/operations/{operation}/live", web.events(live.of_operation, live.LOOK_CLOSELY, "operation")),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    app = Starlette(routes=routes)

    async def refused(asked: Asked, error: Exception) -> Response:
        assert isinstance(error, Refusal)  # noqa: S101 - it is registered for these
        return await run_in_threadpool(web.refused, error, asked)

    async def no_route(asked: Asked, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return web.refused(Refusal(Code.NOT_FOUND, "there is no such page; see the slices"), asked, status)

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
    """An urlencoded form; those of one name are joined by a blank. Raises Refusal(BAD_INPUT) for anything else."""
    body = b""
    async for piece in asked.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise Refusal(Code.BAD_INPUT, f"the form is larger than {MAX_FORM // 1024} KiB; send less")
    if not asked.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Refusal(Code.BAD_INPUT, "this takes a form, application/x-www-form-urlencoded; use the page's own button")
    form: dict[str, str] = {}
    try:
        for name, value in parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS):
            form[name] = f"{form[name]} {value}" if name in form else value
    except ValueError:
        raise Refusal(Code.BAD_INPUT, "the form is not in UTF-8 or has too many fields; use the page's own") from None
    return form
