"""HTTPS servers with mutual TLS: many apps, addresses and certificates in one event loop."""

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from uvicorn import Config
from uvicorn.server import ServerState

from rpc import problems
from rpc.acceptor import BACKLOG, GOODBYE, OTHERS, Gate
from rpc.body_limit import BodyLimit
from rpc.connection import BoundedProtocol, PeerProtocol
from rpc.guard import Guard, deny_by_default, open_route
from rpc.health import PATH, Health
from rpc.sockets import binding, raise_descriptor_limit

__all__ = [
    "Guard",
    "Listener",
    "PeerProtocol",
    "application",
    "deny_by_default",
    "healthy",
    "open_route",
    "run",
    "serve",
]

KEEP_ALIVE = 75  # idle seconds; clients let go earlier (rpc/aio.py), so that calls do not meet a closing connection
MIN_CONNECTIONS = 64  # even where the system lets a process have hardly more descriptors
STALLED = 60_000  # milliseconds in which a peer acknowledges nothing that was sent to it

Ready = Callable[[list[tuple[str, int]]], None]


@dataclass(frozen=True, slots=True)
class Listener:
    """One app at one address; port 0 is any free one. ``context`` None means plain HTTP (metrics, on loopback)."""

    app: Any
    host: str
    port: int
    context: ssl.SSLContext | None
    name: str = ""


def application(title: str, **options: Any) -> FastAPI:
    """A FastAPI app without documentation routes, whose errors are problems; ``options`` go to FastAPI (lifespan …)."""
    app = FastAPI(title=title, openapi_url=None, docs_url=None, redoc_url=None, **options)
    problems.install(app)
    return app


def healthy(app: FastAPI, health: Health) -> None:
    """Add `GET /healthz`, for everybody."""

    @app.get(PATH)
    @open_route
    def healthz() -> JSONResponse:
        status, body = health.answer()
        return JSONResponse(body, status)


def run(
    listeners: Sequence[Listener], *, ready: Ready | None = None, stop: asyncio.Event | None = None, grace: int = 10
) -> None:
    """``serve`` in a loop of its own (uvloop where it is installed)."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(listeners, ready=ready, stop=stop, grace=grace))


async def serve(
    listeners: Sequence[Listener], *, ready: Ready | None = None, stop: asyncio.Event | None = None, grace: int = 10
) -> None:
    """Serve until ``stop`` is set, or SIGTERM or SIGINT comes (main thread only).

    ``ready`` gets the (host, port) of each listener, in order, once all of them answer. At the end no new request is
    taken, event streams end at once, and other requests have ``grace`` seconds. Raises CannotListen for an address in
    use and RuntimeError for an app with an unguarded route.
    """
    stop = stop or asyncio.Event()
    async with AsyncExitStack() as stack:
        sockets = [stack.enter_context(_bound(listener)) for listener in listeners]
        states = await _start_apps([listener.app for listener in listeners], stack)
        server = await stack.enter_async_context(_Server(stop, grace).running())
        for listener, bound in zip(listeners, sockets, strict=True):
            await server.listen(listener, bound, states.get(id(listener.app), {}))
        stack.enter_context(_signals(stop))
        if ready is not None:
            ready([bound.getsockname()[:2] for bound in sockets])
        await stop.wait()


class _Server:
    """The listening sockets and open connections of one ``serve``."""

    def __init__(self, stop: asyncio.Event, grace: int) -> None:
        self.stop = stop
        self.grace = grace
        self.apps: list[BodyLimit] = []
        self.listening: list[socket.socket] = []
        self.taking: list[asyncio.Task[None]] = []
        self.state = ServerState()
        self.gate = Gate(max(MIN_CONNECTIONS, raise_descriptor_limit() - OTHERS))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["_Server"]:
        try:
            yield self
        finally:
            await self._close()

    async def listen(self, listener: Listener, bound: socket.socket, app_state: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        bounded = BodyLimit(listener.app)
        config = protocol_config(bounded)
        bound.listen(BACKLOG)
        self.apps.append(bounded)
        self.listening.append(bound)
        factory = partial(BoundedProtocol, config, self.state, app_state, loop)
        self.taking.append(asyncio.create_task(self.gate.take(bound, listener.context, factory)))

    async def _close(self) -> None:
        for task in self.taking:
            task.cancel()
        await asyncio.gather(*self.taking, return_exceptions=True)
        for bound in self.listening:
            bound.close()
        self.gate.stop()
        for connection in list(self.state.connections):
            connection.shutdown()
        for bounded in self.apps:
            bounded.end_streams()
        if self.state.tasks:
            await asyncio.wait(set(self.state.tasks), timeout=self.grace)
        for task in list(self.state.tasks):
            task.cancel()
        await self._hang_up()

    async def _hang_up(self) -> None:
        """Let the last answers leave, then cut what still stands."""
        loop = asyncio.get_running_loop()
        end = loop.time() + GOODBYE
        while self.state.connections and loop.time() < end:
            await asyncio.sleep(0.01)
        for connection in list(self.state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def protocol_config(bounded: BodyLimit) -> Config:
    """uvicorn's, for a socket that is not uvicorn's."""
    config = Config(
        bounded,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nobody stands between; a header must not say who the client is
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE,
    )
    config.load()
    return config


async def _start_apps(apps: Sequence[Any], stack: AsyncExitStack) -> dict[int, dict[str, Any]]:
    """Check every app's routes, then run its lifespan, once however many addresses it has. State by ``id(app)``."""
    distinct = {id(app): app for app in apps}
    for app in distinct.values():
        if isinstance(app, FastAPI):
            deny_by_default(app)
    states: dict[int, dict[str, Any]] = {}
    for key, app in distinct.items():
        if isinstance(app, Starlette):
            state = await stack.enter_async_context(app.router.lifespan_context(app))
            states[key] = dict(state or {})
    return states


@contextmanager
def _bound(listener: Listener) -> Iterator[socket.socket]:
    setting = "DSLICE_METRICS_LISTEN" if listener.name == "metrics" else "DSLICE_LISTEN"
    with binding(listener.host, listener.port, setting):
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    with socket.socket(family, kind, protocol) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections inherit it: one that reads nothing of its answer is not served for ever.
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED)
        bound.setblocking(False)
        with binding(listener.host, listener.port, setting):
            bound.bind(address)
        yield bound


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)
    for number in wanted:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
