"""The asynchronous client, for workers, node managers and agents: many servers, connections kept alive."""

import asyncio
import functools
import hashlib
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import (
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    Fingerprint,
    TCPConnector,
)
from aiohttp import client_exceptions as broken
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from rpc import tls
from rpc.credentials import Credentials
from rpc.reply import CONNECT_TIMEOUT, DEADLINE, MAX_BODY, Reply, Target, encoded
from rpc.sockets import Handed
from rpc.tracing import outgoing
from trust.identity import Identity

KEEP_ALIVE = 30  # idle seconds; servers wait longer (rpc/server.py)


class Session:
    """Calls with one certificate. Open and close it in the loop that uses it (``async with``)."""

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        ca_pem: str | None = None,
        limit: int = 0,
        limit_per_host: int = 0,
        keep_alive: int = KEEP_ALIVE,
    ) -> None:
        """``limit``: connections in all, ``limit_per_host``: to one server (0: any number)."""
        self.credentials = credentials
        self._context = tls.client_context(credentials, ca_pem=ca_pem)
        self._limits = {"limit": limit, "limit_per_host": limit_per_host, "keepalive_timeout": keep_alive}
        self._http: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = ClientSession(
            connector=Connector(self._context, **self._limits),
            cookie_jar=DummyCookieJar(),
            middlewares=(_once,),
            auto_decompress=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "dslice"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._http is not None:
            await self._http.close()
            # Broken connections close at the loop's next turn, which may be its last.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def reload(self) -> None:
        """Show the certificate that is in the folder now on every new connection."""
        if self.credentials is not None:
            tls.reload(self._context, self.credentials)

    async def call(
        self,
        method: str,
        url: str,
        *,
        expect: Identity,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        deadline: float = DEADLINE,
    ) -> Reply:
        """One request and its answer, within ``deadline`` seconds in all.

        No byte of the request leaves before the server's address and identity (``expect``) are checked. Raises
        Refusal: UNREACHABLE, TIMEOUT, WRONG_CERTIFICATE, NOT_AUTHENTICATED (our certificate is refused), INTERNAL
        (the answer makes no sense), or what the server said. If a kept-alive connection turns out closed before a
        byte of the answer came, the call is made once more on a new one: every call is idempotent by its content.
        """
        target, sent = Target.of(url, expect), {**(headers or {}), **outgoing()}
        attempt = functools.partial(self._attempt, method, url, target, json, sent, connect_timeout)
        dial = Dial(target)
        try:
            async with asyncio.timeout(deadline):
                try:
                    return await attempt(dial)
                except broken.ClientConnectionError as error:
                    if not dial.went_stale:
                        raise target.lost(error) from error
                try:
                    return await attempt(Dial(target, fresh=True))
                except broken.ClientConnectionError as error:
                    raise target.lost(error) from error
        except TimeoutError:
            raise target.too_slow(deadline) from None

    async def _attempt(
        self,
        method: str,
        url: str,
        target: Target,
        json: object,
        headers: dict[str, str],
        connect_timeout: float,
        dial: "Dial",
    ) -> Reply:
        """One request; lets ClientConnectionError through: the connection broke after it had stood."""
        assert self._http is not None, "open the session first: async with Session(...)"  # noqa: S101
        data = None
        if json is not None:
            data, headers["Content-Type"] = encoded(json), "application/json"
        if dial.fresh:
            headers["Connection"] = "close"
        timeout = ClientTimeout(total=None, sock_connect=connect_timeout)
        try:
            async with self._http.request(
                method, url, data=data, headers=headers, ssl=dial, allow_redirects=False, timeout=timeout
            ) as response:
                answer = await _whole(response, target)
                found = {name.lower(): value for name, value in response.headers.items()}
                return target.reply(response.status, found, answer)
        except broken.ConnectionTimeoutError:
            raise target.too_slow_to_connect(connect_timeout) from None
        except broken.ClientConnectorError as error:
            raise target.unconnected(error.__cause__ or error) from error
        except broken.ClientPayloadError as error:
            raise target.lost(error) from error
        except broken.ClientResponseError as error:
            raise target.senseless("no HTTP") from error


async def _once(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """aiohttp repeats what it holds for idempotent, and after half an answer too, at the errors that are renamed here:
    ``Session.call`` decides that itself."""
    try:
        return await send(request)
    except broken.ClientConnectorError:
        raise
    except (broken.ClientOSError, broken.ServerDisconnectedError) as error:
        raise broken.ClientConnectionError(str(error)) from error


class Dial(Fingerprint):
    """Whom one call wants to reach; equal for equal identities, so that the pool keeps them apart.

    It travels as aiohttp's ``ssl`` parameter, which is part of the pool's key.
    """

    def __init__(self, target: Target, *, fresh: bool = False) -> None:
        super().__init__(hashlib.sha256(f"{target.expect} {fresh}".encode()).digest())
        self.target = target
        self.fresh = fresh  # never takes a connection that another call has used
        self.wire: Wire | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dial) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def check(self, transport: asyncio.Transport) -> None:
        """Not here, where only new connections pass, but in ``Connector.connect``."""

    @property
    def went_stale(self) -> bool:
        """Whether the call met a connection that earlier calls had used, and not a byte came back."""
        return self.wire is not None and self.wire.calls > 1 and self.wire.received == 0


class Wire(ResponseHandler):
    """A connection that knows whose it is, and whether it is still good for repeating a call."""

    certificate: Mapping[str, Any] | None = None
    calls = 0
    received = 0  # bytes since the last call began

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.certificate = transport.get_extra_info("peercert")

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)

    def close(self) -> None:
        """At once: TLS would say goodbye, and wait for 30 s for the answer of a server that may be dead."""
        self.abort()


class Connector(TCPConnector):
    """aiohttp's pool, which hands out no connection but to whom it was verified for."""

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(ssl=context, socket_factory=Handed.of, **options)
        self._context = context
        factory: Any = functools.partial(Wire, loop=asyncio.get_running_loop())
        self._factory = factory

    def _get_ssl_context(self, req: ClientRequest) -> ssl.SSLContext:
        # aiohttp would not verify the chain of a server that is known by its fingerprint.
        return self._context

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        """A connection for one request, which is sent only once this has returned."""
        connection = await super().connect(req, traces, timeout)
        dial, wire = req.ssl, connection.protocol
        try:
            if not isinstance(dial, Dial) or not isinstance(wire, Wire):
                raise TypeError("every request of a Session names whom it expects")
            dial.target.check(wire.certificate)
        except BaseException:
            connection.close()
            raise
        wire.calls, wire.received, dial.wire = wire.calls + 1, 0, wire
        return connection


async def _whole(response: ClientResponse, target: Target) -> bytes:
    """The body; INTERNAL if it is too long."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            response.close()
            raise target.senseless(f"more than {MAX_BODY} bytes")
    return b"".join(pieces)
