"""Requests by method, route, status and code."""

from typing import Any

from prometheus_client import REGISTRY

from rpc.body_limit import MAX_BODY, BodyLimit
from rpc.guard import open_route
from rpc.server import application
from tests.unit.rpc.asgi import ask
from trust.errors import Code, Refusal


def counted(method: str, route: str, status: str, code: str = "") -> float:
    labels = {"method": method, "route": route, "status": status, "code": code}
    return REGISTRY.get_sample_value("dslice_requests_total", labels) or 0


def made() -> Any:
    app = application("counted")

    @app.get("/counted/{name}")
    @open_route
    def get(name: str, size: int = 0) -> int:
        if name == "nobody":
            raise Refusal(Code.NOT_FOUND, "no such name")
        return size

    return BodyLimit(app)


async def test_answers_and_refusals() -> None:
    bounded, route = made(), "/counted/{name}"
    before = [counted("GET", route, "200"), counted("GET", route, "404", "not-found")]
    await ask(bounded, "GET", "/counted/one")
    await ask(bounded, "GET", "/counted/two")
    await ask(bounded, "GET", "/counted/nobody")
    assert [counted("GET", route, "200") - before[0], counted("GET", route, "404", "not-found") - before[1]] == [2, 1]
    before = [counted("GET", route, "400", "bad-input")]
    await ask(bounded, "GET", "/counted/one?size=many")
    assert counted("GET", route, "400", "bad-input") - before[0] == 1


async def test_what_strangers_make_up_has_one_name() -> None:
    bounded = made()
    before = counted("GET", "other", "404"), counted("other", "/counted/{name}", "405")
    await ask(bounded, "GET", "/a")
    await ask(bounded, "GET", "/b")
    await ask(bounded, "BREW", "/counted/one")
    assert counted("GET", "other", "404") - before[0] == 2
    assert counted("other", "/counted/{name}", "405") - before[1] == 1


async def test_what_the_door_refuses() -> None:
    before = counted("POST", "other", "413", "bad-input")
    await ask(made(), "POST", "/counted/one", pieces=[b"x" * MAX_BODY, b"x"])
    assert counted("POST", "other", "413", "bad-input") - before == 1
