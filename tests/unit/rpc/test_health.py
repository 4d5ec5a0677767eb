"""Whether a daemon is ready, and why not."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from rpc import health
from rpc.calls import Answer, Calls
from rpc.guard import deny_by_default
from rpc.health import Health
from rpc.metrics import listener, serve_beside
from rpc.server import application, healthy
from tests.unit.rpc.asgi import ask
from tests.unit.trust.factories import StillClock, authority
from trust.errors import Code, Refusal
from trust.store import TrustStore

TOKEN = SecretStr("12345678")


def fine() -> None:
    return None


def old() -> str:
    raise Refusal(Code.CRL_STALE, "the list is old")


def test_ready_and_not() -> None:
    assert Health().answer() == (200, {"status": "ok"})
    assert Health(database=fine).answer() == (200, {"status": "ok"})
    status, body = Health(database=lambda: "it does not answer", broker=fine, revocations=old).answer()
    assert (status, body) == (
        503,
        {"status": "not-ready", "why": {"database": "it does not answer", "revocations": "the list is old"}},
    )


def test_many_questions_are_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    known = Health(database=lambda: looks.append(1))
    for _ in range(5):
        known.answer()
    assert len(looks) == 1
    monkeypatch.setattr(health, "KEPT_SECONDS", -1)
    known.answer()
    assert len(looks) == 2


def test_what_begins_later() -> None:
    begun: dict[str, health.Look] = {}
    known = Health(lambda: begun or {"start": lambda: "it waits"}, broker=fine)
    assert known.why() == {"start": "it waits"}
    begun["database"] = fine
    known._found = None
    assert known.why() == {}


def test_an_old_list_and_none() -> None:
    clock = StillClock()
    store = TrustStore(authority().certificate, clock)
    looks = {"revocations": health.trust(store)}
    assert "no revocation list" in Health(**looks).why()["revocations"]
    store.update(authority().sign_crl([], number=1, now=clock.now()))
    assert Health(**looks).why() == {}
    clock.forward(3600)
    assert "s old" in Health(**looks).why()["revocations"]


def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.disk(tmp_path)() is None
    assert "cannot be read" in str(health.disk(tmp_path / "gone")())
    monkeypatch.setattr(health, "LEAST_FREE", 1 << 62)
    assert "MiB are free" in str(health.disk(tmp_path)())


async def test_everybody_may_ask() -> None:
    app = application("t")
    healthy(app, Health(database=lambda: "it does not answer"))
    deny_by_default(app)
    answer = await ask(app, "GET", "/healthz")
    assert (answer.status, json.loads(answer.data)["why"]) == (503, {"database": "it does not answer"})
    page = listener("127.0.0.1:0", TOKEN, CollectorRegistry(), Health()).app
    assert (await ask(page, "GET", "/healthz")).status == 200


async def test_an_answer_with_a_status_of_its_own() -> None:
    calls = Calls()

    @calls.opened("GET", "/healthz")
    async def healthz(_call: object) -> Answer:
        return Answer(503, {"status": "not-ready"})

    answer = await ask(calls, "GET", "/healthz")
    assert (answer.status, json.loads(answer.data)) == (503, {"status": "not-ready"})


@pytest.mark.parametrize(("look", "status"), [(fine, 200), (lambda: "it does not answer", 503)])
def test_beside_a_daemon_without_a_server(look: Callable[[], str | None], status: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    serve_beside(f"127.0.0.1:{port}", TOKEN, CollectorRegistry(), Health(broker=look))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            found = answer.status
    except urllib.error.HTTPError as error:
        with error:
            found = error.code
    assert found == status
