"""The table of calls: who gets in, what is no call, and what is wrong with a body."""

import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import BaseModel, ConfigDict

from rpc.body_limit import BodyLimit
from rpc.calls import Call, Calls
from rpc.guard import Guard
from tests.unit.rpc.asgi import ask
from tests.unit.rpc.test_guard import ALICE, SVM, Service
from trust.actions import Action
from trust.errors import Code, Refusal
from trust.identity import Role

JSON = {"Content-Type": "application/json"}


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nodes: int
    secret: str = ""


def made(guard: Guard) -> Calls:
    calls = Calls()

    @calls.guarded("PUT", "/wishes/{name}", guard.role(Role.USER, action=Action.CREATE), status=201)
    async def put(call: Call) -> Any:
        return {
            "name": call.names["name"],
            "nodes": call.body(Wish).nodes,
            "who": str(call.peer and call.peer.identity),
        }

    @calls.guarded("DELETE", "/wishes/{name}", guard.role(Role.USER), status=204)
    async def delete(call: Call) -> None:
        if call.names["name"] == "busy":
            raise Refusal(Code.BUSY, "not now", since=3)
        if call.names["name"] == "broken":
            raise RuntimeError("the secret is 42")

    @calls.opened("GET", "/open")
    async def opened(call: Call) -> Any:
        return {"step": call.header(b"dslice-step")}

    return calls


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def alice(service: Service) -> bytes:
    return service.certificate(ALICE)[0]


async def test_an_answer(service: Service, alice: bytes) -> None:
    calls = made(service.guard)
    answer = await ask(calls, "PUT", "/wishes/gr\u00fc\u00dfe", pieces=[b'{"no', b'des": 3}'], headers=JSON, peer=alice)
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    assert answer.body == {"name": "gr\u00fc\u00dfe", "nodes": 3, "who": ALICE.uri}
    assert int(answer.headers["content-length"]) == len(answer.data)
    answer = await ask(calls, "DELETE", "/wishes/a", peer=alice)
    assert (answer.status, answer.headers, answer.data, answer.complete) == (204, {}, b"", True)
    assert (await ask(calls, "GET", "/open", headers={"Dslice-Step": "7"})).body == {"step": "7"}


async def test_who_gets_in_is_asked_each_time_and_first(service: Service, alice: bytes) -> None:
    calls = made(service.guard)

    async def code(peer: bytes | None) -> tuple[int, str]:
        answer = await ask(calls, "PUT", "/wishes/a", pieces=[b"no JSON"], peer=peer)
        return answer.status, answer.body["code"]

    assert await code(None) == (401, "not-authenticated")
    assert await code(service.certificate(SVM)[0]) == (403, "not-allowed")
    der, serial = service.certificate(ALICE)
    assert await code(der) == (400, "bad-input")
    service.revoke(serial, number=2)
    assert await code(der) == (401, "revoked")


def test_a_call_without_a_guard_is_not_added() -> None:
    with pytest.raises(TypeError, match="names no role"):
        Calls().guarded("GET", "/bare", None)  # type: ignore[arg-type]


async def test_what_is_no_call(service: Service, alice: bytes) -> None:
    calls = made(service.guard)
    for path in ("/", "/wishes", "/wishes/", "/wishes/a/b", "/openly", "/open/"):
        answer = await ask(calls, "GET", path, peer=alice)
        assert (answer.status, answer.body["code"]) == (404, "not-found"), path
        assert answer.body["detail"] == f"there is no GET {path} here"
    answer = await ask(calls, "POST", "/wishes/a", peer=alice)
    assert (answer.status, answer.body["code"], answer.headers["allow"]) == (405, "bad-input", "PUT, DELETE")


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"", JSON, "body: missing; give it"),
        (b"{", JSON, "the body is not JSON"),
        (b"\xff", JSON, "the body is not JSON"),
        (b"[" * 100_000, JSON, "the body is not JSON"),
        (b"[]", JSON, "body: "),
        (b"{}", JSON, "nodes: missing; give it"),
        (b'{"nodes": 1, "more": 2}', JSON, "more: not taken here; leave it out"),
        (b'{"nodes": "x", "secret": "horse"}', JSON, "nodes: "),
        (b'{"nodes": 1}', {}, "the body is not said to be JSON"),
        (b'{"nodes": 1}', {"Content-Type": "text/plain"}, "the body is not said to be JSON"),
    ],
)
async def test_a_wrong_body_is_said_in_one_line_without_its_values(
    service: Service, alice: bytes, body: bytes, headers: dict[str, str], reason: str
) -> None:
    answer = await ask(made(service.guard), "PUT", "/wishes/a", pieces=[body], headers=headers, peer=alice)
    assert (answer.status, answer.body["code"]) == (400, "bad-input")
    assert answer.body["detail"].startswith(reason)
    assert "\n" not in answer.body["detail"]
    assert b"horse" not in answer.data


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/problem+json"])
async def test_kinds_of_json(service: Service, alice: bytes, kind: str) -> None:
    headers = {"Content-Type": kind}
    answer = await ask(made(service.guard), "PUT", "/wishes/a", pieces=[b'{"nodes": 1}'], headers=headers, peer=alice)
    assert answer.status == 201


async def test_refusals_and_surprises(service: Service, alice: bytes, caplog: pytest.LogCaptureFixture) -> None:
    calls = made(service.guard)
    answer = await ask(calls, "DELETE", "/wishes/busy", peer=alice)
    assert (answer.status, answer.headers["content-type"]) == (409, "application/problem+json")
    assert (answer.body["detail"], answer.body["since"]) == ("not now", 3)
    with caplog.at_level(logging.ERROR):
        answer = await ask(calls, "DELETE", "/wishes/broken", peer=alice)
    assert (answer.status, answer.body["code"]) == (500, "internal")
    assert b"42" not in answer.data
    assert "the secret is 42" in caplog.text


async def test_answers_are_counted_by_route(service: Service, alice: bytes) -> None:
    bounded = BodyLimit(made(service.guard))

    def counted(method: str, route: str, status: str, code: str = "") -> float:
        labels = {"method": method, "route": route, "status": status, "code": code}
        return REGISTRY.get_sample_value("dslice_requests_total", labels) or 0

    wanted = [
        ("DELETE", "/wishes/{name}", "204"),
        ("DELETE", "/wishes/{name}", "409", "busy"),
        ("GET", "/wishes/{name}", "405"),
        ("GET", "other", "404"),
    ]
    before = [counted(*each) for each in wanted]
    for method, path in (("DELETE", "/wishes/a"), ("DELETE", "/wishes/busy"), ("GET", "/wishes/a"), ("GET", "/b")):
        await ask(bounded, method, path, peer=alice)
    assert [counted(*each) - known for each, known in zip(wanted, before, strict=True)] == [1, 1, 1, 1]
