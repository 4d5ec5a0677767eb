"""What stands before every app."""

import asyncio
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from rpc.body_limit import MAX_BODY, BodyLimit
from tests.unit.rpc.asgi import Answer, ask

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "query_string": b"",
    "http_version": "1.1",
    "headers": [(b"host", b"x")],
}


class Echo:
    """Answers how many bytes it got, and remembers that it ran."""

    ran = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.ran = True
        message = await receive()
        assert not message["more_body"]
        body = str(len(message["body"])).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def test_the_app_gets_the_whole_body_at_once() -> None:
    answer = await ask(BodyLimit(Echo()), "POST", "/", pieces=[b"ab", b"", b"cde"])
    assert (answer.status, answer.data) == (200, b"5")
    answer = await ask(BodyLimit(Echo()), "POST", "/", pieces=[b"x" * (MAX_BODY // 2)] * 2)
    assert (answer.status, answer.data) == (200, str(MAX_BODY).encode())


async def test_a_body_that_is_too_large() -> None:
    app = Echo()
    answer = await ask(BodyLimit(app), "POST", "/", pieces=[b"x" * (MAX_BODY // 2)] * 2 + [b"x"])
    assert (answer.status, answer.body["code"], answer.headers["connection"]) == (413, "bad-input", "close")
    assert not app.ran


async def test_a_client_that_leaves_within_the_body() -> None:
    app = Echo()
    answer = await ask(BodyLimit(app), "POST", "/", pieces=[b"half"], gone=True)
    assert answer.status == 0
    assert not app.ran


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc.body_limit.BODY_SECONDS", 0.01)
    app, answer = Echo(), Answer()

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        answer.status = message.get("status", answer.status)
        answer.data += message.get("body", b"")

    await BodyLimit(app)({"type": "http", "method": "POST", "path": "/"}, receive, send)
    assert (answer.status, answer.body["code"]) == (408, "timeout")
    assert not app.ran


def _stream(kind: str, started: asyncio.Event) -> Any:
    async def pieces() -> Any:
        yield b"data: 1\n\n"
        started.set()
        await asyncio.sleep(60)

    return StreamingResponse(pieces(), media_type=kind)


class Listening:
    """A client that stays, so that only the server ends the stream."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.asked = False

    async def receive(self) -> Any:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(60)
        return None

    async def send(self, message: Any) -> None:
        self.answer.data += message.get("body", b"")
        self.answer.complete = message["type"] == "http.response.body" and not message.get("more_body", False)


async def test_event_streams_are_ended_whole() -> None:
    started, client = asyncio.Event(), Listening()
    bounded = BodyLimit(_stream("text/event-stream", started))
    task = asyncio.create_task(bounded(dict(SCOPE), client.receive, client.send))
    await started.wait()
    bounded.end_streams()
    await task
    assert (client.answer.data, client.answer.complete) == (b"data: 1\n\n", True)
    assert not bounded.streams
    assert task.cancelling() == 0


async def test_a_stream_that_begins_when_all_are_ended() -> None:
    client = Listening()
    bounded = BodyLimit(_stream("text/event-stream", asyncio.Event()))
    bounded.end_streams()
    await bounded(dict(SCOPE), client.receive, client.send)
    assert client.answer.complete


async def test_other_answers_are_not_broken_off() -> None:
    started, client = asyncio.Event(), Listening()
    bounded = BodyLimit(_stream("application/json", started))
    task = asyncio.create_task(bounded(dict(SCOPE), client.receive, client.send))
    await started.wait()
    bounded.end_streams()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
