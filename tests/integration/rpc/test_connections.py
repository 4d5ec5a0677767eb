"""Connections are reused, but only for whom they were verified for."""

import asyncio
import threading
from typing import Any

import pytest
from cryptography import x509
from fastapi import FastAPI

from rpc import tls
from rpc.aio import Dial, Session
from rpc.blocking import Connection
from rpc.credentials import Credentials
from rpc.reply import Target
from rpc.server import Listener
from tests.integration.rpc.lab import (
    HOST,
    NODE,
    OTHER_NODE,
    SVM,
    Lab,
    Scripted,
    answer,
    call,
    scripted,
    serving,
)
from trust.errors import Code, Refusal


def test_one_connection_for_many_calls(app: FastAPI, url: str, svm: Credentials, kind: str) -> None:
    call(kind, url, credentials=svm, expect=NODE, times=20)
    assert len(app.state.connections) == 1


def test_refusals_keep_the_connection(app: FastAPI, url: str, svm: Credentials) -> None:
    async def aio() -> None:
        async with Session(svm) as session:
            for _ in range(3):
                with pytest.raises(Refusal):
                    await session.call("GET", url + "/agents-only", expect=NODE)

    asyncio.run(aio())
    assert len(app.state.connections) == 1
    with Connection(url, credentials=svm, expect=NODE) as connection:
        for _ in range(3):
            with pytest.raises(Refusal):
                connection.call("GET", "/agents-only")
    assert len(app.state.connections) == 2


def test_headers_and_bodies(url: str, svm: Credentials, node: Credentials, kind: str) -> None:
    def script(server: Scripted, connection: Any) -> None:
        server.request(connection)
        connection.sendall(answer(b"[]", "ETag: x7", "X-Thing: 1"))

    with scripted(script, tls.server_context(node)) as server:
        reply = call(kind, server.url, "/a%20b?c=d", headers={"If-None-Match": "x6"}, credentials=svm, expect=NODE)
    assert (reply.status, reply.body, reply.headers["etag"], reply.headers["x-thing"]) == (200, [], "x7", "1")
    assert server.received.startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert b"If-None-Match: x6\r\n" in server.received
    wish = {"a": 1}
    assert call(kind, url, "/change", "PUT", json=wish, credentials=svm, expect=NODE).body == wish


async def test_no_connection_goes_to_another_identity(app: FastAPI, url: str, svm: Credentials) -> None:
    async with Session(svm) as session:
        for _ in range(2):
            assert (await session.call("GET", url + "/who", expect=NODE)).status == 200
            with pytest.raises(Refusal) as caught:
                await session.call("GET", url + "/who", expect=OTHER_NODE)
            assert caught.value.code is Code.WRONG_CERTIFICATE
    assert len(app.state.connections) == 1


async def test_nor_if_the_pool_mixed_them_up(
    app: FastAPI, url: str, svm: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dial, "__eq__", lambda self, other: True)
    monkeypatch.setattr(Dial, "__hash__", lambda self: 1)
    async with Session(svm) as session:
        await session.call("GET", url + "/who", expect=NODE)
        with pytest.raises(Refusal) as caught:
            await session.call("GET", url + "/who", expect=OTHER_NODE)
    assert caught.value.code is Code.WRONG_CERTIFICATE


def test_a_pool_keeps_identities_apart(svm: Credentials) -> None:
    dial = Dial(Target(HOST, 1, NODE))
    assert dial == Dial(Target(HOST, 1, NODE))
    assert hash(dial) == hash(Dial(Target(HOST, 1, NODE)))
    assert dial != Dial(Target(HOST, 1, OTHER_NODE))
    assert dial != Dial(Target(HOST, 1, NODE), fresh=True)


async def test_a_request_that_expects_nobody_is_not_sent(app: FastAPI, url: str, svm: Credentials) -> None:
    async with Session(svm) as session:
        assert session._http is not None
        with pytest.raises(TypeError):
            await session._http.get(url + "/open")
    assert app.state.connections == set()


async def test_many_calls_at_once(lab: Lab, app: FastAPI, node: Credentials, svm: Credentials) -> None:
    other = lab.credentials(OTHER_NODE)
    with serving(lab.listener(app, node), lab.listener(app, other)) as (one, two):
        async with Session(svm, limit_per_host=4) as session:
            calls = [session.call("GET", one + "/who", expect=NODE) for _ in range(40)]
            calls += [session.call("GET", two + "/who", expect=OTHER_NODE) for _ in range(40)]
            assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
    assert len(app.state.connections) <= 8


async def test_waiting_for_a_free_connection_counts(node: Credentials, svm: Credentials) -> None:
    took = threading.Event()

    def silent(server: Scripted, connection: Any) -> None:
        server.request(connection)
        took.set()
        server.over.wait(30)

    with scripted(silent, tls.server_context(node)) as server:
        async with Session(svm, limit_per_host=1) as session:
            first = asyncio.create_task(session.call("GET", server.url, expect=NODE))
            await asyncio.to_thread(took.wait, 20)
            with pytest.raises(Refusal) as caught:
                await session.call("GET", server.url, expect=NODE, deadline=0.1)
            assert caught.value.code is Code.TIMEOUT
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
    assert server.connections == 1


def test_threads_share_a_connection(app: FastAPI, url: str, svm: Credentials) -> None:
    replies = list[Any]()
    with Connection(url, credentials=svm, expect=NODE) as connection:
        threads = [threading.Thread(target=lambda: replies.append(connection.call("GET", "/who"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [reply.body for reply in replies] == [{"who": SVM.uri}] * 8
    assert len(app.state.connections) == 1


def test_waiting_for_another_thread_counts(node: Credentials, svm: Credentials) -> None:
    began = threading.Event()

    def silent(server: Scripted, connection: Any) -> None:
        server.request(connection)
        began.set()
        server.over.wait(30)

    def wait() -> None:
        with pytest.raises(Refusal):
            connection.call("GET", "/")

    with (
        scripted(silent, tls.server_context(node)) as server,
        Connection(server.url, credentials=svm, expect=NODE) as connection,
    ):
        first = threading.Thread(target=wait)
        first.start()
        began.wait(20)
        with pytest.raises(Refusal) as caught:
            connection.call("GET", "/", deadline=0.1)
        assert caught.value.code is Code.TIMEOUT
        server.over.set()
        first.join()
    assert server.connections == 1


def test_base_urls_may_have_a_path(node: Credentials, svm: Credentials) -> None:
    def script(server: Scripted, connection: Any) -> None:
        server.request(connection)
        connection.sendall(answer())

    with (
        scripted(script, tls.server_context(node)) as server,
        Connection(server.url + "/plc/", credentials=svm, expect=NODE) as connection,
    ):
        connection.call("GET", "/crl")
    assert server.received.startswith(b"GET /plc/crl ")


def test_clients_show_renewed_certificates(lab: Lab, node: Credentials) -> None:
    svm, serials = lab.credentials(SVM), list[int]()
    before = svm.certificate.serial_number

    class Notes:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            serials.append(x509.load_der_x509_certificate(scope["dslice.peer"]).serial_number)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def aio(url: str) -> None:
        async with Session(svm) as session:
            close = {"Connection": "close"}
            await session.call("GET", url, expect=NODE, headers=close)
            renewed = lab.renew(svm)
            await session.call("GET", url, expect=NODE, headers=close)
            session.reload()
            await session.call("GET", url, expect=NODE, headers=close)
            assert serials == [before, before, renewed]

    with serving(Listener(Notes(), HOST, 0, tls.server_context(node))) as (url,):
        asyncio.run(aio(url))
        serials.clear()
        with Connection(url, credentials=svm, expect=NODE) as connection:
            connection.call("GET", "/")
            renewed = lab.renew(svm)
            connection.call("GET", "/")
            connection.reload()
            connection.call("GET", "/")
    assert serials[0] == serials[1] != serials[2] == renewed
