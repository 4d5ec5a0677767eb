"""Prometheus metrics of a daemon: ``GET /metrics`` on a plain loopback port of its own, for who shows a token.

``GET /healthz`` stands there too, without a token, for whoever supervises the daemon (``dslice health``).

The page is made in a thread, for what collectors read may wait: a database, a store. The token is needed because
loopback is no wall: slivers share it with their node, and with all of a testbed.
"""

import hmac
import ipaddress
import json
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, ThreadingWSGIServer, generate_latest, make_wsgi_app
from prometheus_client.registry import Collector
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from rpc.health import PATH, Health
from rpc.server import Listener, application, healthy, open_route
from rpc.settings import DaemonSettings
from trust.errors import Code, Refusal

SHORTEST = 8  # characters of a token
_CLOSED = "this page is for who shows the token: Authorization: Bearer DSLICE_METRICS_TOKEN"


def listeners(settings: DaemonSettings, health: Health, *collectors: Collector) -> list[Listener]:
    """The page's listener, with what these collect, where a setting asks for it; raises Refusal as ``listener``."""
    if not settings.metrics_listen:
        return []
    for collector in collectors:
        REGISTRY.register(collector)
    return [listener(settings.metrics_listen, settings.metrics_token, health=health)]


def listener(
    address: str, token: SecretStr, registry: CollectorRegistry = REGISTRY, health: Health | None = None
) -> Listener:
    """A listener for ``serve`` beside the daemon's own; ``address`` is "host:port" on loopback (DSLICE_METRICS_LISTEN).

    Raises Refusal(BAD_INPUT) for an address that is not loopback (the token travels in the clear), or without a token.
    """
    (host, port), shown = _loopback(address), _expected(token)
    app = application("metrics")

    @app.get("/metrics")
    @open_route
    def metrics(request: Request) -> Response:
        if not _is(request.headers.get("authorization", ""), shown):
            raise Refusal(Code.NOT_AUTHENTICATED, _CLOSED)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    healthy(app, health or Health())
    return Listener(app, host, port, context=None, name="metrics")


def serve_beside(
    address: str, token: SecretStr, registry: CollectorRegistry = REGISTRY, health: Health | None = None
) -> None:
    """The same page from a thread, for daemons without a server of their own (workers, beat); it ends with them.

    An empty address: none. Raises Refusal as ``listener``, and Refusal(BAD_INPUT) for an address in use.
    """
    if not address:
        return
    (host, port), shown = _loopback(address), _expected(token)
    page, known = make_wsgi_app(registry), health or Health()

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == PATH:
            status, body = known.answer()
            start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/json")])
            return [json.dumps(body).encode()]
        if _is(environ.get("HTTP_AUTHORIZATION", ""), shown):
            answer: Iterable[bytes] = page(environ, start)
            return answer
        start("401 Unauthorized", [("Content-Type", "text/plain")])
        return [_CLOSED.encode()]

    try:
        server = make_server(host, port, guarded, _family(host), handler_class=_Quiet)
    except OSError as error:
        raise Refusal(Code.BAD_INPUT, f"metrics cannot be served at {address}: {error.strerror}; correct it") from error
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _expected(token: SecretStr) -> str:
    if len(token.get_secret_value()) < SHORTEST:
        raise Refusal(
            Code.BAD_INPUT,
            f"metrics need a token of {SHORTEST} characters or more: set DSLICE_METRICS_TOKEN, too",
        )
    return f"Bearer {token.get_secret_value()}"


def _is(said: str, shown: str) -> bool:
    return hmac.compare_digest(said.encode(), shown.encode())


class _Quiet(WSGIRequestHandler):
    """Logs no line for each scrape."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _family(host: str) -> type[WSGIServer]:
    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server


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
