"""Every text that a caller can put into a call of any service: a NUL in it is refused in one line, never a surprise."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Route

from agent.api import create_app as agent_app
from lifecycle.seal import Seal
from models.database import engine
from nodemgr import api as node_api
from plc.api import build as plc_app
from plc.client import PLC, Directory
from rpc.body_limit import BodyLimit
from rpc.calls import Calls
from rpc.credentials import Credentials
from rpc.guard import Guarded
from svm.service.api import create_app as svmd_app
from svm.service.context import KnownAgents, Service
from svm.service.watching import Watchers
from testbed.embedded import Postgres
from tests.integration.agent.lab import SVM, Lab
from tests.unit.rpc.asgi import Answer, ask
from trust.identity import Identity, Role

SERVICES = ("plc", "agent", "node", "svmd")
NUL = "a\0b"


@pytest.fixture(scope="module")
def apps(lab: Lab, postgres: Postgres, svm_tables: str) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Each service's application, with its routes, and what serves it."""
    postgres.create_database("svm_characters", template=svm_tables)
    database = engine(postgres.url("svm", "svm_characters"))
    agents = KnownAgents(lambda: Directory(PLC, "", svmd=None, svm=SVM, agents=()))
    seal = Seal(bytes(32))
    service = Service(SVM, lab.svm_credentials, lab.trust, database, lambda _: None, Watchers(), agents, seal)
    nodes, (first, *_) = node_api.create_app(lab.trust), lab.population.nodes
    made = {"plc": plc_app(lab.bootstrap.central, lab.trust), "agent": agent_app(lab.agent), "svmd": svmd_app(service)}
    yield {name: (app, app) for name, app in made.items()} | {
        "node": (nodes, node_api.at(nodes, first.node, first.place.frontdoor))
    }
    database.dispose()


@pytest.fixture(scope="module")
def callers(lab: Lab) -> list[Credentials]:
    """One of each role that anything is open to."""
    services = [lab.credentials(Identity(role, "caller")) for role in (Role.AGENT, Role.NODE, Role.SVM)]
    return [lab.user(), *services]


def requests(app: FastAPI | Calls) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """(method, path, headers, body), each with a NUL in another text."""
    if isinstance(app, Calls):
        yield from requests_of_a_node(app)
        return
    for context in iter_route_contexts(app.routes):
        route = context.original_route if hasattr(context, "original_route") else context
        assert isinstance(route, Route)
        method, names = next(iter(route.methods or {"GET"})), list(route.param_convertors)
        plain = route.path_format.format(**dict.fromkeys(names, "a"))
        for name in names:
            yield method, route.path_format.format(**dict.fromkeys(names, "a") | {name: NUL}), {}, b"{}"
        queries, headers, has_body = parameters(route)
        for name in queries:
            yield method, f"{plain}?{name}={quote(NUL)}", {}, b"{}"
        for name in headers:
            yield method, plain, {name: NUL}, b"{}"
        if has_body:
            yield method, plain, {}, rb'{"name": "a\u0000b"}'


def requests_of_a_node(app: Calls) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    for route in app.routes:
        plain = route.path.format(slice="a")
        if plain != route.path:
            yield route.method, route.path.format(slice=NUL), {}, b"{}"
        if route.guard is not None:
            yield route.method, plain, {"Dslice-Delegation": NUL}, b"{}"
        if route.method != "GET":
            yield route.method, plain, {}, rb'{"name": "a\u0000b"}'


def parameters(route: Route) -> tuple[list[str], list[str], bool]:
    """Names in the query and in the header, and whether there is a body; of a route without FastAPI as it is known."""
    if isinstance(route.endpoint, Guarded):
        return [], ["If-Match"], True
    assert isinstance(route, APIRoute)
    found = route.dependant
    return (
        [param.alias for param in found.query_params],
        [param.alias for param in found.header_params],
        bool(found.body_params),
    )


@pytest.mark.parametrize("service", SERVICES)
async def test_no_text_with_a_nul_gets_through(
    apps: dict[str, tuple[Any, Any]], callers: list[Credentials], service: str
) -> None:
    app, served = apps[service]
    tried = list(requests(app))
    assert len(tried) > 10
    for method, path, headers, body in tried:
        for caller in callers:
            peer = caller.certificate.public_bytes(Encoding.DER)
            answer: Answer = await ask(BodyLimit(served), method, path, headers=headers, pieces=[body], peer=peer)
            assert (answer.status, answer.body["code"]) == (400, "bad-input"), (method, path, headers, answer.data)
