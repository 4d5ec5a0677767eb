"""Metrics, on loopback only."""

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from rpc.guard import deny_by_default
from rpc.metrics import listener, serve_beside
from tests.unit.rpc.asgi import ask
from trust.errors import Refusal


async def test_metrics_are_served() -> None:
    registry = CollectorRegistry()
    Counter("slivers", "Slivers made", registry=registry).inc()
    made = listener("127.0.0.1:0", registry)
    deny_by_default(made.app)
    answer = await ask(made.app, "GET", "/metrics")
    assert answer.status == 200
    assert b"slivers_total 1.0" in answer.data
    assert (made.host, made.port, made.context) == ("127.0.0.1", 0, None)
    assert listener("[::1]:9100").host == "::1"


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9100", "10.0.0.1:9100", ":9100", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"]
)
def test_any_other_address_is_refused(address: str) -> None:
    with pytest.raises(Refusal, match="loopback"):
        listener(address)


def test_a_page_from_a_thread() -> None:
    registry = CollectorRegistry()
    Counter("knocks", "Knocks heard", registry=registry).inc()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=f"cannot be served at 127.0.0.1:{port}"):
            serve_beside(f"127.0.0.1:{port}", registry)
    serve_beside(f"127.0.0.1:{port}", registry)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"knocks_total 1.0" in answer.read()
    with pytest.raises(Refusal, match="loopback"):
        serve_beside("0.0.0.0:9100", registry)
