"""svmd's application: every route, guarded (docs/svmd.md)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from models.outage import database, say_when_away
from rpc.aio import Session
from rpc.health import Health, own
from rpc.server import Guard, application, healthy
from svm.service.ads import Lists, add_ads
from svm.service.context import Service
from svm.service.doctor import add_doctor
from svm.service.hooks import add_hooks
from svm.service.operations import add_operations
from svm.service.operator import add_operator
from svm.service.reads import add_reads
from svm.service.watching import listening


def create_app(service: Service, session: Session | None = None) -> FastAPI:
    """The app. `session`: for calls to agents, with svmd's certificate; opened and closed with the app."""
    calls = session or Session(service.credentials)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with calls, listening(service.engine, service.watchers):
            yield

    app = application("dslice svmd", lifespan=lifespan)
    say_when_away(app, "svmd")
    guard, lists = Guard(service.store), Lists(calls)
    add_operations(app, service, guard)
    add_reads(app, service, guard)
    add_ads(app, service, guard, calls, lists)
    add_doctor(app, service, guard, lists)
    add_hooks(app, service, guard)
    add_operator(app, service, guard, lists)

    healthy(app, health_of(service))
    return app


def health_of(service: Service) -> Health:
    """Whether it can take operations, and have workers told of them."""
    looks = {"database": database(service.engine), "broker": service.broker}
    return Health(**looks, **own(service.credentials, service.store))
