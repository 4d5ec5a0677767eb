"""Event streams, and how a server stops: streams end at once, calls may finish."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse
from fastapi.sse import ServerSentEvent as Event
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rpc import tls
from rpc.aio import Session
from rpc.blocking import Connection
from rpc.credentials import Credentials
from rpc.server import application, open_route, serve
from tests.integration.rpc.lab import HOST, LOOPS, NODE, Lab, Scripted, call, refused, scripted, serving
from trust.errors import Code, Refusal


def make_streams(finished: list[str]) -> FastAPI:
    app = application("streams")
    app.state.began = threading.Event()

    @app.get("/three", response_class=EventSourceResponse)
    @open_route
    async def three(request: Request) -> AsyncIterator[Event]:
        start = int(request.headers.get("last-event-id", "0"))
        for number in range(start, 3):
            yield Event(id=str(number + 1), event="step", raw_data=f'{{"number": {number}}}')

    @app.get("/endless", response_class=EventSourceResponse)
    @open_route
    async def endless() -> AsyncIterator[Event]:
        try:
            yield Event(id="1", raw_data="hello")
            app.state.began.set()
            await asyncio.sleep(3600)
        finally:
            finished.append("endless")

    @app.get("/breaks")
    @open_route
    async def breaks() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"data: one\n\n"
            raise RuntimeError("stop")

        return StreamingResponse(pieces(), media_type="text/event-stream")

    @app.get("/slow")
    @open_route
    async def slow(seconds: float) -> list[str]:
        app.state.began.set()
        try:
            await asyncio.sleep(seconds)
        finally:
            finished.append("slow")
        return ["done"]

    return app


@pytest.fixture
def finished() -> list[str]:
    return []


@pytest.fixture
def streams(finished: list[str]) -> FastAPI:
    return make_streams(finished)


def test_events(lab: Lab, node: Credentials, svm: Credentials, streams: FastAPI) -> None:
    with serving(lab.listener(streams, node)) as (url,), Connection(url, credentials=svm, expect=NODE) as connection:
        found = list(connection.stream("/three"))
        assert [(event.id, event.event, json.loads(event.data)["number"]) for event in found] == [
            ("1", "step", 0), ("2", "step", 1), ("3", "step", 2),
        ]  # fmt: skip
        assert [event.id for event in connection.stream("/three", {"Last-Event-ID": "2"})] == ["3"]
        with pytest.raises(Refusal) as caught:
            list(connection.stream("/nowhere"))
        assert caught.value.code is Code.NOT_FOUND
        with pytest.raises(Refusal) as caught:
            list(connection.stream("/slow?seconds=0"))
        assert caught.value.code is Code.INTERNAL


def test_a_stream_that_was_read_to_its_end_leaves_its_connection_to_the_next_call(
    lab: Lab, node: Credentials, svm: Credentials, streams: FastAPI
) -> None:
    ports = set()

    @streams.middleware("http")
    async def seen(request: Request, go_on: RequestResponseEndpoint) -> Response:
        assert request.client
        ports.add(request.client.port)
        return await go_on(request)

    with serving(lab.listener(streams, node)) as (url,), Connection(url, credentials=svm, expect=NODE) as connection:
        connection.call("GET", "/slow?seconds=0")
        assert len(list(connection.stream("/three"))) == 3
        connection.call("GET", "/slow?seconds=0")
        assert len(ports) == 1
        events = connection.stream("/endless")
        assert next(events).data == "hello"
        assert len(ports) == 1
        connection.call("GET", "/slow?seconds=0")  # while the stream has the connection
        assert len(ports) == 2
        events.close()  # type: ignore[attr-defined]
        assert len(list(connection.stream("/three"))) == 3
        assert len(ports) == 2


def test_a_stream_that_breaks_off(lab: Lab, node: Credentials, svm: Credentials, streams: FastAPI) -> None:
    with serving(lab.listener(streams, node)) as (url,), Connection(url, credentials=svm, expect=NODE) as connection:
        events = connection.stream("/breaks")
        assert next(events).data == "one"
        with pytest.raises(Refusal) as caught:
            next(events)
        assert caught.value.code is Code.UNREACHABLE


@pytest.mark.parametrize(("idle", "within"), [(0.7, None), (60, 0.7), (0.7, 60)])
def test_a_stream_that_falls_silent(
    lab: Lab, node: Credentials, svm: Credentials, streams: FastAPI, idle: float, within: float | None
) -> None:
    with serving(lab.listener(streams, node)) as (url,), Connection(url, credentials=svm, expect=NODE) as connection:
        events = connection.stream("/endless", idle=idle, end=within and time.monotonic() + within)
        assert next(events).data == "hello"
        with pytest.raises(Refusal) as caught:
            next(events)
        assert caught.value.code is Code.TIMEOUT


def test_streams_of_others(node: Credentials, svm: Credentials) -> None:
    def script(server: Scripted, connection: Any) -> None:
        server.request(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\ndata: 1\n\n"
        )

    with (
        scripted(script, tls.server_context(node)) as server,
        Connection(server.url, credentials=svm, expect=NODE) as connection,
    ):
        events = connection.stream("/")
        assert next(events).data == "1"
        with pytest.raises(Refusal, match="lost"):
            next(events)

    def endless(server: Scripted, connection: Any) -> None:
        server.request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not server.over.is_set():
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with (
        scripted(endless, tls.server_context(node)) as server,
        Connection(server.url, credentials=svm, expect=NODE) as connection,
        pytest.raises(Refusal, match="no sense"),
    ):
        list(connection.stream("/"))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stop_ends_streams_and_lets_calls_finish(
    lab: Lab, node: Credentials, svm: Credentials, streams: FastAPI, finished: list[str], loop: str
) -> None:
    replies, idle = list[Any](), Connection("https://127.0.0.1:1", credentials=svm, expect=NODE)
    with contextlib.ExitStack() as stack:
        with serving(lab.listener(streams, node), loop=loop, grace=20) as (url,):
            idle = stack.enter_context(Connection(url, credentials=svm, expect=NODE))
            idle.call("GET", "/slow?seconds=0")
            events = idle.stream("/endless")
            assert next(events).data == "hello"
            streams.state.began.clear()
            caller = threading.Thread(
                target=lambda: replies.append(call("aio", url, "/slow?seconds=0.3", credentials=svm, expect=NODE))
            )
            caller.start()
            streams.state.began.wait(20)
        # The server has stopped, although the idle connection and the stream's reader are still there.
        caller.join()
        assert replies[0].body == ["done"]
        assert list(events) == []
        assert sorted(finished) == ["endless", "slow", "slow"]
        with pytest.raises(Refusal) as caught:
            idle.call("GET", "/slow?seconds=0")
        assert caught.value.code is Code.UNREACHABLE
        assert "connection refused" in caught.value.reason


def test_a_call_beyond_the_grace_is_cut_before_the_app_ends(lab: Lab, node: Credentials, svm: Credentials) -> None:
    events, failures, began = list[str](), list[Refusal](), threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        events.append("down")

    app = application("test", lifespan=lifespan)

    @app.get("/slow")
    @open_route
    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            events.append("cut")

    with serving(lab.listener(app, node), grace=0) as (url,):
        caller = threading.Thread(
            target=lambda: failures.append(refused("aio", url, "/slow", credentials=svm, expect=NODE))
        )
        caller.start()
        began.wait(20)
    caller.join()
    assert events == ["cut", "down"]
    assert failures[0].code in (Code.UNREACHABLE, Code.INTERNAL)


async def test_serve_in_the_tests_own_loop(lab: Lab, node: Credentials, svm: Credentials, app: FastAPI) -> None:
    stop, addresses = asyncio.Event(), asyncio.Queue[tuple[str, int]]()
    task = asyncio.create_task(serve([lab.listener(app, node)], ready=lambda a: addresses.put_nowait(a[0]), stop=stop))
    host, port = await addresses.get()
    async with Session(svm) as session:
        assert (await session.call("GET", f"https://{host}:{port}/who", expect=NODE)).status == 200
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    stop.set()
    await task
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


DAEMON = """
import asyncio, sys
from pathlib import Path
from rpc import tls
from rpc.credentials import Credentials
from rpc.server import Listener, run

async def app(scope, receive, send):
    kind = b"text/event-stream"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    loop = type(asyncio.get_running_loop()).__module__.encode()
    await send({"type": "http.response.body", "body": b"data: " + loop + b"\\n\\n", "more_body": True})
    await asyncio.sleep(3600)

context = tls.server_context(Credentials(Path(sys.argv[1])))
run([Listener(app, "127.0.0.1", 0, context)], ready=lambda found: print(found[0][1], flush=True))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_a_daemon(node: Credentials, svm: Credentials, number: signal.Signals) -> None:
    command = [sys.executable, "-W", "error", "-c", DAEMON, str(node.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        try:
            url = f"https://{HOST}:{int(daemon.stdout.readline())}"
            with Connection(url, credentials=svm, expect=NODE) as connection:
                events = connection.stream("/")
                assert next(events).data == "uvloop"
                daemon.send_signal(number)
                assert list(events) == []
            out, err = daemon.communicate(timeout=60)
        finally:
            daemon.kill()
    assert (out, err, daemon.returncode) == ("stopped\n", "", 0)
