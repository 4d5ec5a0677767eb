"""Prometheus metrics of a daemon: ``GET /metrics`` on a plain loopback port of its own."""

import ipaddress

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from rpc.server import Listener, application, open_route
from trust.errors import Code, Refusal


def listener(address: str, registry: CollectorRegistry = REGISTRY) -> Listener:
    """A listener for ``serve`` beside the daemon's own; ``address`` is "host:port" on loopback (DSLICE_METRICS_LISTEN).

    Raises Refusal(BAD_INPUT) for an address that is not loopback: metrics are served without a password.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
        number = int(port)
    except ValueError:
        loopback, number = False, 0
    if not loopback or not 0 <= number <= 65535:
        raise Refusal(Code.BAD_INPUT, f"metrics are for loopback only, as 127.0.0.1:9100, not {address!r}; correct it")
    app = application("metrics")

    @app.get("/metrics")
    @open_route
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Listener(app, host, number, context=None, name="metrics")
