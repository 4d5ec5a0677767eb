"""svmd's application: every route, guarded (docs/svmd.md)."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from rpc import problems
from rpc.aio import Session
from rpc.server import Guard, application, open_route
from svm.service.ads import add_ads
from svm.service.context import Service
from svm.service.doctor import add_doctor
from svm.service.operations import add_operations
from svm.service.reads import add_reads
from svm.service.watching import listening
from trust.errors import Code, Refusal

log = logging.getLogger(__name__)


def create_app(service: Service, session: Session | None = None) -> FastAPI:
    """The app. `session`: for calls to agents, with svmd's certificate; opened and closed with the app."""
    calls = session or Session(service.credentials)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with calls, listening(service.engine, service.watchers):
            yield

    app = application("dslice svmd", lifespan=lifespan)
    app.add_exception_handler(OperationalError, _without_database)
    guard = Guard(service.store)
    add_operations(app, service, guard)
    add_reads(app, service, guard)
    add_ads(app, service, guard, calls)
    add_doctor(app, service, guard, calls)

    @app.get("/healthz")
    @open_route
    def healthz() -> dict[str, str]:
        with service.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return {"status": "ok"}

    return app


async def _without_database(request: Request, error: Exception) -> Response:
    """PostgreSQL is away, or too busy: for whoever asks, svmd itself is."""
    log.error("no database for %s %s: %s", request.method, problems.printable(request.url.path), error)
    request.scope[problems.CODE] = Code.UNREACHABLE
    return problems.response(Refusal(Code.UNREACHABLE, "svmd's database does not answer; try again in a minute"))
