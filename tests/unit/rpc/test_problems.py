"""Refusals on the wire, both ways."""

import logging
from typing import Annotated
from uuid import UUID

import pytest
from fastapi import Body, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator
from starlette.responses import StreamingResponse

from rpc.problems import STATUS, from_problem, to_bytes, to_problem
from rpc.server import application
from tests.unit.rpc.asgi import ask
from trust.errors import Code, Refusal, printable

JSON = {"content-type": "application/json"}


class Wish(BaseModel):
    nodes: Annotated[int, Field(gt=0)]
    password: Annotated[str, Field(max_length=8)] = ""
    slice: str = "abc"

    @field_validator("slice")
    @classmethod
    def _lower(cls, value: str) -> str:
        if not value.islower():
            raise ValueError("a slice name is lower case")
        return value


@pytest.fixture
def app() -> FastAPI:
    made = application("test")

    @made.post("/wishes")
    async def wishes(wish: Annotated[Wish, Body()]) -> dict[str, int]:
        return {"nodes": wish.nodes}

    @made.get("/refuse/{code}")
    async def refuse(code: Code) -> None:
        raise Refusal(code, "no,\nand\tdo this", have=3, id=UUID(int=1), status=200, code="ok")

    @made.get("/crash")
    async def crash() -> None:
        raise RuntimeError("the secret is 42")

    @made.get("/half")
    async def half() -> StreamingResponse:
        async def pieces() -> object:
            yield b"[1,"
            raise RuntimeError("the secret is 42")

        return StreamingResponse(pieces())  # type: ignore[arg-type]

    return made


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(Code)
    assert all(400 <= status < 600 for status in STATUS.values())


@pytest.mark.parametrize("code", Code)
async def test_a_refusal_goes_over_the_wire_and_comes_back(app: FastAPI, code: Code) -> None:
    answer = await ask(app, "GET", f"/refuse/{code}")
    assert (answer.status, answer.headers["content-type"]) == (STATUS[code], "application/problem+json")
    assert answer.body["type"] == f"urn:dslice:problem:{code}"
    refusal = from_problem(answer.status, answer.body)
    assert (refusal.code, refusal.reason) == (code, "no, and do this")
    assert refusal.detail == {"have": 3, "id": str(UUID(int=1))}


def test_details_never_hide_the_standard_members() -> None:
    problem = to_problem(Refusal(Code.BUSY, "wait", code="ok", detail="fine", status=200, type="x", title="y"))
    assert (problem["code"], problem["detail"], problem["status"]) == ("busy", "wait", 409)
    assert b'"status": 413' in to_bytes(Refusal(Code.BAD_INPUT, "too large"), 413)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.BAD_INPUT),
        (401, Code.NOT_AUTHENTICATED),
        (403, Code.NOT_ALLOWED),
        (404, Code.NOT_FOUND),
        (418, Code.BAD_INPUT),
        (500, Code.INTERNAL),
        (503, Code.INTERNAL),
    ],
)
@pytest.mark.parametrize(
    "body", [None, [], "text", {}, {"code": "made-up", "detail": "x"}, {"code": "busy"}, {"code": 7, "detail": "x"}]
)
def test_an_error_without_a_reason_is_judged_by_its_status(status: int, code: Code, body: object) -> None:
    refusal = from_problem(status, body)
    assert refusal.code is code
    assert str(status) in refusal.reason


@given(st.text())
def test_foreign_text_is_one_short_printable_line(text: str) -> None:
    shown = from_problem(500, {"code": "busy", "detail": text}).reason
    assert shown == printable(text)
    assert len(shown) <= 200
    assert shown.isprintable()


def test_foreign_text_is_cut() -> None:
    assert from_problem(500, {"code": "busy", "detail": "x" * 1000}).reason == "x" * 200


def test_escape_sequences_of_a_node_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in from_problem(409, {"code": "busy", "detail": "\x1b[2Jhello\r\nSuccess on 1.2.3.4"}).reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"nodes": 0}', "nodes: Input should be greater than 0"),
        (b"{}", "nodes: missing; give it"),
        (b'{"nodes": 1, "slice": "ABC"}', "slice: a slice name is lower case"),
        (b"{", "the body is not JSON"),
    ],
)
async def test_invalid_input_is_one_line(app: FastAPI, body: bytes, reason: str) -> None:
    answer = await ask(app, "POST", "/wishes", pieces=[body], headers=JSON)
    assert (answer.status, answer.body["code"]) == (400, "bad-input")
    assert answer.body["detail"].startswith(reason)
    assert "\n" not in answer.body["detail"]


async def test_invalid_input_is_not_repeated_in_the_answer(app: FastAPI) -> None:
    body = b'{"nodes": 1, "password": "correct horse battery"}'
    answer = await ask(app, "POST", "/wishes", pieces=[body], headers=JSON)
    assert answer.status == 400
    assert b"horse" not in answer.data


async def test_many_complaints_are_counted() -> None:
    app = application("test")

    @app.get("/many")
    async def many(a: int, b: int, c: int, d: int, e: int) -> None: ...

    answer = await ask(app, "GET", "/many")
    assert answer.body["detail"].endswith("(and 2 more)")
    assert "query.c" in answer.body["detail"]
    assert "query.d" not in answer.body["detail"]


async def test_unknown_paths_and_methods(app: FastAPI) -> None:
    answer = await ask(app, "GET", "/nowhere\x1b[2J")
    assert (answer.status, answer.body["code"]) == (404, "not-found")
    assert answer.body["detail"] == "there is no GET /nowhere [2J here"
    answer = await ask(app, "PUT", "/crash")
    assert (answer.status, answer.body["code"], answer.headers["allow"]) == (405, "bad-input", "GET")


async def test_a_surprise_is_logged_and_not_told(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await ask(app, "GET", "/crash")
    assert (answer.status, answer.body["code"]) == (500, "internal")
    assert b"42" not in answer.data
    assert b"RuntimeError" not in answer.data
    assert "the secret is 42" in caplog.text
    assert len(caplog.records) == 1


async def test_a_surprise_after_half_an_answer_breaks_it_off(app: FastAPI) -> None:
    with pytest.raises(RuntimeError):
        await ask(app, "GET", "/half")


async def test_no_documentation_is_served() -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert (await ask(application("test"), "GET", path)).status == 404
