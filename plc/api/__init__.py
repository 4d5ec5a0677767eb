"""plc's API. Every route names whom it serves; plain functions run in threads, since they wait for the database."""

from fastapi import FastAPI

from plc.api.accounts import key_routes, sign_up_routes, user_routes
from plc.api.callers import Callers
from plc.api.certificates import renewal_routes, request_routes
from plc.api.directory import open_routes, service_routes
from plc.central import Central
from rpc.server import Guard, application
from trust.store import TrustStore


def build(central: Central, store: TrustStore) -> FastAPI:
    """The app of one plc; ``store`` has plc's own root and revocations."""
    app = application("plc")
    callers = Callers(central, Guard(store))
    app.include_router(open_routes(central))
    app.include_router(sign_up_routes(central, callers))
    app.include_router(user_routes(central, callers))
    app.include_router(key_routes(central, callers))
    app.include_router(request_routes(central, callers))
    app.include_router(renewal_routes(central, callers))
    app.include_router(service_routes(central, callers))
    return app
