"""Metrics, on loopback only, and for who shows the token."""

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr

from rpc.guard import deny_by_default
from rpc.metrics import listener, serve_beside
from tests.unit.rpc.asgi import ask
from trust.errors import Refusal

TOKEN = SecretStr("12345678")
RIGHT = {"Authorization": "Bearer 12345678"}
SAID = ("", "Bearer 123456789", "Basic 12345678", "Bearer é")
WRONG = [{"Authorization": said} for said in SAID]


async def test_metrics_are_served() -> None:
    registry = CollectorRegistry()
    Counter("slivers", "Slivers made", registry=registry).inc()
    made = listener("127.0.0.1:0", TOKEN, registry)
    deny_by_default(made.app)
    for headers in WRONG:
        assert (await ask(made.app, "GET", "/metrics", headers=headers)).status == 401
    answer = await ask(made.app, "GET", "/metrics", headers=RIGHT)
    assert answer.status == 200
    assert b"slivers_total 1.0" in answer.data
    assert (made.host, made.port, made.context) == ("127.0.0.1", 0, None)
    assert listener("[::1]:9100", TOKEN).host == "::1"


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9100", "10.0.0.1:9100", ":9100", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"]
)
def test_any_other_address_is_refused(address: str) -> None:
    with pytest.raises(Refusal, match="loopback"):
        listener(address, TOKEN)


def test_a_page_from_a_thread() -> None:
    registry = CollectorRegistry()
    Counter("knocks", "Knocks heard", registry=registry).inc()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=f"cannot be served at 127.0.0.1:{port}"):
            serve_beside(f"127.0.0.1:{port}", TOKEN, registry)
    serve_beside(f"127.0.0.1:{port}", TOKEN, registry)
    for headers in WRONG[:3]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers))
        assert caught.value.code == 401
        caught.value.close()
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=RIGHT)) as answer:
        assert b"knocks_total 1.0" in answer.read()
    with pytest.raises(Refusal, match="loopback"):
        serve_beside("0.0.0.0:9100", TOKEN, registry)


@pytest.mark.parametrize("token", ["", "1234567"])
def test_no_page_without_a_token(token: str) -> None:
    with pytest.raises(Refusal, match="DSLICE_METRICS_TOKEN"):
        listener("127.0.0.1:0", SecretStr(token))
    with pytest.raises(Refusal, match="DSLICE_METRICS_TOKEN"):
        serve_beside("127.0.0.1:0", SecretStr(token))
