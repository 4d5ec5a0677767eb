"""For which step a call is made."""

import logging

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from rpc.body_limit import BodyLimit
from rpc.guard import open_route
from rpc.reply import REQUEST
from rpc.server import application
from rpc.tracing import HEADER, incoming, outgoing, request_of
from tests.unit.rpc.asgi import ask
from trust.errors import Code, Refusal

OPERATION = "97763aea-a561-4a82-995d-7fcbe5cbd49e"
OTHER = "0b5b4f3e-6d0c-4a3e-8f0e-2f1f7a3f9a11"


def test_there_and_back() -> None:
    assert outgoing() == {}
    with bound_contextvars(operation=OPERATION, step=7, node="127.0.1.1"):
        sent = outgoing()
    assert sent == {HEADER: f"{OPERATION}/7"}
    headers = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    assert incoming({"headers": headers}) == {"operation": OPERATION, "step": 7}


def test_a_request_s_id_goes_along() -> None:
    with bound_contextvars(request=OTHER):
        assert outgoing() == {REQUEST: OTHER}
        with bound_contextvars(operation=OPERATION, step=7):
            sent = outgoing()
    headers = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    assert incoming({"headers": headers}) == {"request": OTHER, "operation": OPERATION, "step": 7}


@pytest.mark.parametrize("key", [None, "", "anything that a client calls its request", f"{OTHER} "])
def test_a_key_that_is_no_id_stays_out_of_the_log(key: str | None) -> None:
    assert request_of(key) == {}
    assert request_of(OTHER) == {"request": OTHER}


@pytest.mark.parametrize(
    "value", ["", "x/7", OPERATION, f"{OPERATION}/", f"{OPERATION}/7 ", f"{OPERATION}/-1", f"{OPERATION}/{'9' * 19}"]
)
def test_what_does_not_look_like_ids_is_passed_over(value: str) -> None:
    assert incoming({"headers": [(HEADER.lower().encode(), value.encode())]}) == {}


async def test_a_line_with_the_ids(caplog: pytest.LogCaptureFixture) -> None:
    app, seen = application("traced"), []

    @app.put("/traced/{name}")
    @open_route
    async def put(name: str) -> None:
        seen.append(get_contextvars())
        if name == "nobody":
            raise Refusal(Code.NOT_FOUND, "no such name")

    with caplog.at_level(logging.INFO, "rpc.body_limit"):
        for name in ("one", "nobody"):
            await ask(BodyLimit(app), "PUT", f"/traced/{name}", headers={HEADER: f"{OPERATION}/7"})
        await ask(BodyLimit(app), "PUT", "/traced/two")
    assert [(found.get("operation"), found.get("step")) for found in seen] == [(OPERATION, 7)] * 2 + [(None, None)]
    assert [record.getMessage() for record in caplog.records] == [
        "PUT /traced/one: 200",
        "PUT /traced/nobody: not-found",
    ]
    assert "operation" not in get_contextvars()
