"""plc's API. Every route names whom it serves; plain functions run in threads, since they wait for the database."""

from fastapi import FastAPI

from models.outage import database, say_when_away
from plc.api.accounts import key_routes, sign_up_routes, user_routes
from plc.api.callers import Callers
from plc.api.certificates import decision_routes, renewal_routes, request_routes
from plc.api.directory import list_routes, name_routes, open_routes, service_routes
from plc.api.orders import node_routes, order_routes
from plc.api.usage import usage_routes
from plc.central import Central
from rpc.health import Health, disk, trust
from rpc.server import Guard, application, healthy
from trust.store import TrustStore


def build(central: Central, store: TrustStore) -> FastAPI:
    """The app of one plc; ``store`` has plc's own root and revocations."""
    app = application("plc")
    say_when_away(app, "plc")
    callers = Callers(central, Guard(store))
    healthy(app, health_of(central, store))
    for routes in (open_routes, list_routes, request_routes):
        app.include_router(routes(central))
    for guarded in (
        sign_up_routes,
        user_routes,
        key_routes,
        decision_routes,
        renewal_routes,
        service_routes,
        name_routes,
        node_routes,
        order_routes,
        usage_routes,
    ):
        app.include_router(guarded(central, callers))
    return app


def health_of(central: Central, store: TrustStore) -> Health:
    """Whether it can sign and register."""
    looks = {"database": database(central.engine), "revocations": trust(store)}
    return Health(**looks, disk=disk(central.settings.state_dir))
