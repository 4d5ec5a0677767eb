"""The synchronous client: for the command line, and for plc's client in services. Standard library only."""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from rpc import tls
from rpc.credentials import Credentials
from rpc.events import ServerSentEvent, events
from rpc.reply import CONNECT_TIMEOUT, DEADLINE, MAX_BODY, Reply, Target, encoded
from trust.identity import Identity

__all__ = ["Connection", "ServerSentEvent"]

PIECE = 64 * 1024


class Connection:
    """One kept-alive connection to one server, opened at the first call. Threads that share it wait for one another."""

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        ca_pem: str | None = None,
        expect: Identity | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """``expect`` None: any identity of this CA at that address (plkeygen, before it knows plc's name)."""
        self._target = Target.of(base_url, expect)
        self._prefix = urlsplit(base_url).path.rstrip("/")
        self._credentials = credentials
        self._connect_timeout = connect_timeout
        self._context = tls.client_context(credentials, ca_pem=ca_pem)
        self._context.sslsocket_class = Wire
        self._lock = threading.Lock()
        self._kept: Channel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def reload(self) -> None:
        """Show the certificate that is in the folder now from the next call on."""
        if self._credentials is not None:
            tls.reload(self._context, self._credentials)
        self.close()

    def call(
        self,
        method: str,
        path: str,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = DEADLINE,
    ) -> Reply:
        """As ``rpc.aio.Session.call``; ``path`` is appended to the base URL."""
        end = time.monotonic() + deadline
        request = Request(method, self._prefix + path, json, headers or {})
        if not self._lock.acquire(timeout=deadline):
            raise self._target.too_slow(deadline)
        try:
            return self._call(request, end)
        except TimeoutError:
            raise self._target.too_slow(deadline) from None
        finally:
            self._lock.release()

    def stream(
        self, path: str, headers: Mapping[str, str] | None = None, *, idle: float = 60, end: float | None = None
    ) -> Iterator[ServerSentEvent]:
        """The events of a stream until the server ends it; whoever reads on to its end has the connection for more.

        Raises Refusal as ``call`` does; TIMEOUT when nothing, not even a comment, comes for ``idle`` seconds, or
        at ``end`` (monotonic). Continue after a break with the header ``Last-Event-ID``.
        """
        request = Request("GET", self._prefix + path, None, {"Accept": "text/event-stream", **(headers or {})})
        with contextlib.ExitStack() as stack:
            try:
                channel, response = self._begun(request, idle, end, stack)
                if not (response.getheader("content-type") or "").startswith("text/event-stream"):
                    self._target.reply(response.status, _headers(response), _whole(response, self._target))
                    raise self._target.senseless("no event stream")
                yield from events(_pieces(response))
                response.close()
                if not response.will_close:
                    stack.pop_all()
                    self._keep(channel)
            except TimeoutError:
                raise self._target.too_slow(idle) from None
            except (OSError, http.client.IncompleteRead) as error:
                raise self._target.lost(error) from error
            except (http.client.HTTPException, ValueError) as error:
                raise self._target.senseless("no event stream") from error

    def _begun(
        self, request: "Request", idle: float, end: float | None, stack: contextlib.ExitStack
    ) -> tuple["Channel", HTTPResponse]:
        """A stream's head, on the connection that is there or else on a new one; `stack` closes it."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is not None:
            stack.callback(kept.close)
            try:
                return kept, kept.exchange(request, idle=idle, end=end)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                if not kept.went_stale:
                    raise
        channel = self._open(self._connect_timeout)
        stack.callback(channel.close)
        return channel, channel.exchange(request, idle=idle, end=end)

    def _keep(self, channel: "Channel") -> None:
        with self._lock:
            spare, self._kept = self._kept, channel
        if spare is not None:
            spare.close()

    def _call(self, request: "Request", end: float) -> Reply:
        kept, self._kept = self._kept, None
        if kept is not None:
            try:
                return self._exchange(kept, request, end)
            except StaleConnectionError:
                pass  # every call of dslice is idempotent by its content
        return self._exchange(self._open(min(self._connect_timeout, end - time.monotonic())), request, end)

    def _open(self, timeout: float) -> "Channel":
        channel = Channel(self._target, self._context, timeout)
        try:
            channel.connect()
        except TimeoutError:
            if timeout < self._connect_timeout:
                raise  # the deadline came first
            raise self._target.too_slow_to_connect(timeout) from None
        except OSError as error:
            raise self._target.unconnected(error) from error
        return channel

    def _exchange(self, channel: "Channel", request: "Request", end: float) -> Reply:
        """One request and its answer; afterwards the connection is kept or closed."""
        try:
            with contextlib.ExitStack() as stack:
                stack.callback(channel.close)
                response = channel.exchange(request, end=end)
                data = _whole(response, self._target)
                if not response.will_close:
                    stack.pop_all()
                    self._kept = channel
        except TimeoutError:
            raise
        except (OSError, http.client.IncompleteRead) as error:
            if channel.went_stale:
                raise StaleConnectionError from error
            raise self._target.lost(error) from error
        except http.client.HTTPException as error:
            if isinstance(error, http.client.BadStatusLine) and not str(error).endswith("\n"):
                raise self._target.lost(error) from error
            raise self._target.senseless("no HTTP") from error
        return self._target.reply(response.status, _headers(response), data)


class StaleConnectionError(Exception):
    """The server had closed the kept-alive connection before a byte of the answer came."""


@dataclass(frozen=True, slots=True)
class Request:
    """What goes out; the path is percent-encoded."""

    method: str
    path: str
    json: object
    headers: Mapping[str, str]


class Wire(ssl.SSLSocket):
    """A socket whose every operation ends by one common time, so that a server cannot drip."""

    end: float | None = None  # monotonic; None: the socket's own timeout holds for each operation
    idle: float | None = None  # seconds that one operation may take at most
    received = 0  # bytes since the last call began

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self._hurry()
        count = super().recv_into(buffer, nbytes, flags)
        self.received += count
        return count

    def send(self, data: Any, flags: int = 0) -> int:
        self._hurry()
        return super().send(data, flags)

    def _hurry(self) -> None:
        if self.end is None:
            return
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.settimeout(left if self.idle is None else min(left, self.idle))


class Channel(http.client.HTTPSConnection):
    """One connection, which sends nothing to a server that is not who is expected."""

    def __init__(self, target: Target, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(target.host, target.port, context=context, timeout=timeout)
        self.target = target
        self.context = context
        self.calls = 0
        self.wire: Wire | None = None

    def connect(self) -> None:
        """TCP, TLS, and the check of who it is. OSError, or Refusal(WRONG_CERTIFICATE)."""
        wire = self._reached()
        try:
            wire.do_handshake()
            self.target.check(wire.getpeercert())
        except BaseException:
            wire.close()
            raise
        self.sock = self.wire = wire

    def _reached(self) -> Wire:
        """TCP only, with the first of the server's addresses that takes it."""
        failure = OSError(f"{self.host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            # Before it is connected: ``wrap_socket`` loses, unclosed, what is reset while it looks.
            wire = self.context.wrap_socket(
                socket.socket(family, kind, protocol), server_hostname=self.host, do_handshake_on_connect=False
            )
            assert isinstance(wire, Wire)  # noqa: S101 - the context makes no others
            try:
                wire.settimeout(self.timeout)
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                wire.connect(address)
            except OSError as error:
                wire.close()
                failure = error
            else:
                return wire
        raise failure

    def exchange(self, request: Request, *, end: float | None = None, idle: float | None = None) -> HTTPResponse:
        """The answer's head. TimeoutError at ``end`` (monotonic), or when nothing comes for ``idle`` seconds."""
        assert self.wire is not None  # noqa: S101 - callers connect first
        self.wire.settimeout(idle)
        self.wire.idle, self.wire.end, self.wire.received, self.calls = idle, end, 0, self.calls + 1
        headers = {"Accept": "application/json", "User-Agent": "dslice", **request.headers}
        body = None
        if request.json is not None:
            body, headers["Content-Type"] = encoded(request.json), "application/json"
        self.request(request.method, request.path, body, headers)
        return self.getresponse()

    @property
    def went_stale(self) -> bool:
        """Whether earlier calls had used the connection, and not a byte of this one's answer came."""
        return self.calls > 1 and self.wire is not None and self.wire.received == 0


def _headers(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes; IncompleteRead if it breaks off."""
    while piece := response.read1(PIECE):
        yield piece
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def _whole(response: HTTPResponse, target: Target) -> bytes:
    """The body; INTERNAL if it is too long."""
    pieces, size = [], 0
    for piece in _pieces(response):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            raise target.senseless(f"more than {MAX_BODY} bytes")
    response.close()  # http.client takes an answer for unread until then
    return b"".join(pieces)
