"""Starting, bounding and stopping servers."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse
from fastapi.sse import ServerSentEvent as Event
from starlette.requests import Request
from starlette.responses import StreamingResponse

from rpc import metrics, tls
from rpc.aio import Session
from rpc.blocking import Connection
from rpc.connection import MAX_HEAD
from rpc.credentials import Credentials
from rpc.door import MAX_BODY
from rpc.server import Guard, Listener, application, open_route, serve
from tests.integration.rpc.conftest import make_app
from tests.integration.rpc.lab import HOST, LOOPS, NODE, SVM, Lab, Scripted, call, refused, scripted, serving
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

# Starting


def test_many_listeners_each_with_its_own_certificate(lab: Lab, svm: Credentials) -> None:
    names = [Identity(Role.NODE, f"s{number}") for number in range(1, 25)]
    app = make_app(Guard(lab.store()))
    listeners = [lab.listener(app, lab.credentials(name, [f"127.0.0.{1 + i % 3}"]), f"127.0.0.{1 + i % 3}")
                 for i, name in enumerate(names)]  # fmt: skip

    async def ask_all(urls: list[str]) -> None:
        async with Session(svm) as session:
            calls = [session.call("GET", url + "/who", expect=name) for url, name in zip(urls, names, strict=True)]
            assert {reply.status for reply in await asyncio.gather(*calls)} == {200}

    with serving(*listeners, loop="uvloop") as urls:
        assert len(set(urls)) == len(names)
        asyncio.run(ask_all(urls))


def test_an_app_with_an_unguarded_route_does_not_start(lab: Lab, node: Credentials, app: FastAPI) -> None:
    @app.get("/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(RuntimeError, match="GET /forgotten"), serving(lab.listener(app, node)):
        pass


def test_an_address_in_use(lab: Lab, node: Credentials, app: FastAPI) -> None:
    with socket.create_server((HOST, 0)) as taken:
        listener = Listener(app, HOST, taken.getsockname()[1], tls.server_context(node))
        with pytest.raises(OSError, match="in use"), serving(listener):
            pass


def test_an_apps_lifespan_runs_once(lab: Lab, node: Credentials) -> None:
    events = list[str]()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append("up")
        yield {"word": "hello"}
        events.append("down")

    app = application("test", lifespan=lifespan)

    @app.get("/word")
    @open_route
    async def word(request: Request) -> list[str]:
        return [request.state.word]

    with serving(lab.listener(app, node), lab.listener(app, node)) as urls:
        for url in urls:
            assert call("aio", url, "/word", credentials=lab.credentials(SVM), expect=NODE).body == ["hello"]
        assert events == ["up"]
    assert events == ["up", "down"]


def test_a_lifespan_that_fails_is_no_server(lab: Lab, node: Credentials) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    with (
        pytest.raises(RuntimeError, match="no database"),
        serving(lab.listener(application("t", lifespan=lifespan), node)),
    ):
        pass


def test_metrics_beside_a_service(lab: Lab, node: Credentials, app: FastAPI) -> None:
    with (
        serving(lab.listener(app, node), metrics.listener("127.0.0.1:0")) as (_, plain),
        socket.create_connection((HOST, int(plain.rpartition(":")[2]))) as raw,
    ):
        raw.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"python_info" in raw.makefile("rb").read()


# Bounds


@pytest.fixture
def opened(lab: Lab, node: Credentials, app: FastAPI) -> Iterator[Any]:
    """Connects without a certificate: gives a function that opens a TLS connection."""
    context = tls.client_context(None, ca_pem=lab.root_pem)
    with contextlib.ExitStack() as stack:
        (url,) = stack.enter_context(serving(lab.listener(app, node, client_certificate="optional")))

        def connect() -> Any:
            plain = socket.create_connection((HOST, int(url.rpartition(":")[2])), 10)
            return stack.enter_context(context.wrap_socket(plain, server_hostname=HOST))

        yield connect


def tell(connection: Any, *pieces: bytes) -> bytes:
    """Everything that the server says to that, until it closes the connection; TimeoutError if it does not."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        for piece in pieces:
            connection.sendall(piece)
    said = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65536):
            said += piece
    return said


GET = b"GET /open HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [GET + b"X-Long: " + b"x" * MAX_HEAD + b"\r\n\r\n"],
        [GET, *[b"X-Many: 1\r\n"] * (MAX_HEAD // 7), b"\r\n"],
        [GET + b"X-Endless: ", *[b"x" * 1000] * (MAX_HEAD // 1000 + 1)],
        [b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [GET + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n" * 10_000] * 10],
        [GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ", *[b"x" * 65_536] * 10],
        [b"\x00\x01 nonsense\r\n\r\n"],
    ],
    ids=["header", "headers", "endless", "path", "tiny chunks", "trailer", "nonsense"],
)
def test_requests_that_are_too_large(
    opened: Any, app: FastAPI, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.connection.MAX_MESSAGE", 500_000)
    assert not tell(opened(), *pieces).startswith(b"HTTP/1.1 200")
    assert app.state.connections == set()


def test_a_head_just_small_enough(opened: Any) -> None:
    head = GET + b"Connection: close\r\nX-Long: " + b"x" * (MAX_HEAD - 100) + b"\r\n\r\n"
    assert tell(opened(), head).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("pieces", [[], [GET], [GET + b"Connection: keep-alive\r\n\r\n", GET]])
def test_heads_that_do_not_come(opened: Any, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr("rpc.connection.HEAD_SECONDS", 0.5)
    said = tell(opened(), *pieces)
    assert said.count(b"HTTP/1.1 200") == max(0, len(pieces) - 1)


def test_a_connection_that_stays_idle(
    lab: Lab, node: Credentials, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.server.KEEP_ALIVE", 0.2)
    context = tls.client_context(None, ca_pem=lab.root_pem)
    with (
        serving(lab.listener(app, node, client_certificate="optional")) as (url,),
        socket.create_connection((HOST, int(url.rpartition(":")[2])), 10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        assert tell(connection, GET + b"\r\n").startswith(b"HTTP/1.1 200")


def test_a_handshake_that_does_not_come(
    lab: Lab, node: Credentials, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.server.HANDSHAKE", 0.2)
    with (
        serving(lab.listener(app, node)) as (url,),
        socket.create_connection((HOST, int(url.rpartition(":")[2])), 10) as plain,
    ):
        assert tell(plain) == b""


def test_what_is_counted_is_one_request(
    kind: str, url: str, svm: Credentials, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.connection.MAX_MESSAGE", 2 * MAX_HEAD)
    big = {"x" * MAX_HEAD: 1}

    async def aio() -> None:
        async with Session(svm) as session:
            for _ in range(3):
                await session.call("PUT", url + "/change", json=big, expect=NODE)

    if kind == "aio":
        asyncio.run(aio())
    else:
        with Connection(url, credentials=svm, expect=NODE) as connection:
            for _ in range(3):
                connection.call("PUT", "/change", big)
    assert len(app.state.connections) == 1


def test_a_body_that_is_too_large(kind: str, url: str, svm: Credentials) -> None:
    """Clients do not send what servers refuse."""
    wish = {"x" * (MAX_BODY - len('{"": 1}')): 1}
    assert call(kind, url, "/change", "PUT", json=wish, credentials=svm, expect=NODE).status == 200
    refusal = refused(kind, url, "/change", "PUT", json={**wish, "y": 1}, credentials=svm, expect=NODE)
    assert refusal.code is Code.BAD_INPUT
    assert str(MAX_BODY) in refusal.reason


@pytest.mark.parametrize("size", [MAX_BODY + 1, 4 * MAX_BODY])
def test_a_body_that_is_too_large_for_the_server(opened: Any, size: int) -> None:
    head = f"PUT /change HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    said = tell(opened(), head, b"x" * size)
    assert said.startswith(b"HTTP/1.1 413")
    assert b'"bad-input"' in said


def test_a_body_that_does_not_come(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc.door.BODY_SECONDS", 0.2)
    said = tell(opened(), b"PUT /change HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
    assert said.startswith(b"HTTP/1.1 408")


def test_connections_that_stall_are_cut(lab: Lab, node: Credentials, app: FastAPI) -> None:
    """The option is on the listening socket, and accepted ones inherit it (Linux)."""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("Linux only")
    seen = list[int]()

    async def look(scope: Any, receive: Any, send: Any) -> None:
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(descriptor))) as one:
                if one.type == socket.SOCK_STREAM and one.getsockname() == scope["server"]:
                    seen.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with serving(lab.listener(look, node)) as (url,):
        call("aio", url, credentials=lab.credentials(SVM), expect=NODE)
    assert seen
    assert set(seen) == {60_000}


# Streams and stopping


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


def test_a_stream_that_breaks_off(lab: Lab, node: Credentials, svm: Credentials, streams: FastAPI) -> None:
    with serving(lab.listener(streams, node)) as (url,), Connection(url, credentials=svm, expect=NODE) as connection:
        events = connection.stream("/breaks")
        assert next(events).data == "one"
        with pytest.raises(Refusal) as caught:
            next(events)
        assert caught.value.code is Code.UNREACHABLE


def test_a_stream_that_falls_silent(lab: Lab, node: Credentials, svm: Credentials, streams: FastAPI) -> None:
    with serving(lab.listener(streams, node)) as (url,), Connection(url, credentials=svm, expect=NODE) as connection:
        events = connection.stream("/endless", idle=0.7)
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
