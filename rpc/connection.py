"""One connection of a server: whose it is, and how long and large a request may be on the wire."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rpc.guard import PEER

MAX_HEAD = 64 * 1024  # bytes of request line and headers
MAX_MESSAGE = 8 * 1024 * 1024  # bytes of a whole request with its framing; rpc/body_limit.py bounds the body, far below
HEAD_SECONDS = 20


class Answered:
    """What stands in the place of a request once it is answered."""

    response_complete, scope = True, None
    message_event = asyncio.Event()


ANSWERED = Answered()


class PeerProtocol(HttpToolsProtocol):
    """Puts the peer's certificate (DER; None without one) into the ASGI scope, as uvicorn does not.

    Keeps nothing of a request that is answered: thousands of connections stand and wait for the next.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.peer = tls.getpeercert(binary_form=True) if tls else None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[PEER] = self.peer

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.scope is self.cycle.scope:  # and no other has begun to come
            self.cycle, self.scope, self.headers = ANSWERED, {}, []  # type: ignore[assignment, typeddict-item]


class BoundedProtocol(PeerProtocol):
    """Breaks off a connection whose request grows too large, or whose head takes too long to come."""

    peer: bytes | None = None
    known: Callable[[], object] | None = None  # told of the first request, if the peer shows a certificate
    gone: Callable[[], object] | None = None  # told of the end
    size = 0  # bytes of the current request so far
    in_head = True
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        if self.gone is not None:
            self.gone()
        super().connection_lost(exc)

    @property
    def answering(self) -> bool:
        """Whether a request has not been answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.size > (MAX_HEAD if self.in_head else MAX_MESSAGE):
            self.send_400_response("The request is too large.")
        elif self.in_head and self.head_timer is None:
            self._await_head()

    def on_message_begin(self) -> None:
        self.in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_came()
        # What came in one piece with its end is counted here.
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            raise ValueError("the head of the request is too large")
        self.in_head = False
        if self.peer is not None and self.known is not None:
            self.known()
            self.known = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.size = 0
        super().on_message_complete()

    def shutdown(self) -> None:
        """The server stops: end after the current answer; at once if there is none, without TLS's goodbye."""
        if self.answering:
            super().shutdown()
        else:
            self.transport.abort()

    def _await_head(self) -> None:
        self.head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None
