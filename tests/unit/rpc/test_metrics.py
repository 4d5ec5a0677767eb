"""Metrics, on loopback only."""

import pytest
from prometheus_client import CollectorRegistry, Counter

from rpc.guard import deny_by_default
from rpc.metrics import listener
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
