"""Starting servers: listeners, certificates, lifespans, metrics beside them."""

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from rpc import metrics, tls
from rpc.aio import Session
from rpc.credentials import Credentials
from rpc.server import Guard, Listener, application, open_route
from tests.integration.rpc.conftest import make_app
from tests.integration.rpc.lab import HOST, NODE, SVM, Lab, call, serving
from trust.identity import Identity, Role


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
    with serving(lab.listener(app, node), metrics.listener("127.0.0.1:0", SecretStr("12345678"))) as (_, plain):
        for token, found in ((b"12345678", b"python_info"), (b"1234567", b"401")):
            with socket.create_connection((HOST, int(plain.rpartition(":")[2]))) as raw:
                raw.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
                raw.sendall(b"Authorization: Bearer " + token + b"\r\n\r\n")
                assert found in raw.makefile("rb").read()


class Kept:
    """Something that one request has."""


def test_nothing_of_a_request_is_kept_for_as_long_as_its_connection_stands(
    lab: Lab, node: Credentials, svm: Credentials
) -> None:
    kept = list[weakref.ref[Kept]]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope["kept"] = Kept()
        kept.append(weakref.ref(scope["kept"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(url: str) -> None:
        async with Session(svm) as session:
            for number in (1, 2):
                await session.call("POST", url, expect=NODE, json={"number": number})
                await asyncio.sleep(0.1)  # the server's side ends after the answer
                gc.collect()
                assert [found() for found in kept] == [None] * number

    with serving(lab.listener(app, node)) as urls:
        asyncio.run(ask(urls[0]))
