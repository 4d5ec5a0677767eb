"""Prometheus metrics of a daemon: ``GET /metrics`` on a plain loopback port of its own.

The page is made in a thread, for what collectors read may wait: a database, a store.
"""

import ipaddress

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from rpc.server import Listener, application, open_route
from trust.errors import Code, Refusal


def listener(address: str, registry: CollectorRegistry = REGISTRY) -> Listener:
    """A listener for ``serve`` beside the daemon's own; ``address`` is "host:port" on loopback (DSLICE_METRICS_LISTEN).

    Raises Refusal(BAD_INPUT) for an address that is not loopback: metrics are served without a password.
    """
    host, port = _loopback(address)
    app = application("metrics")

    @app.get("/metrics")
    @open_route
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Listener(app, host, port, context=None, name="metrics")


def serve_beside(address: str, registry: CollectorRegistry = REGISTRY) -> None:
    """The same page from a thread, for daemons without a server of their own (workers, beat); it ends with them.

    Raises Refusal as ``listener``, and Refusal(BAD_INPUT) for an address in use.
    """
    host, port = _loopback(address)
    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise Refusal(Code.BAD_INPUT, f"metrics cannot be served at {address}: {error.strerror}; correct it") from error


def _loopback(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
        number = int(port)
    except ValueError:
        loopback, number = False, 0
    if not loopback or not 0 <= number <= 65535:
        raise Refusal(Code.BAD_INPUT, f"metrics are for loopback only, as 127.0.0.1:9100, not {address!r}; correct it")
    return host, number
