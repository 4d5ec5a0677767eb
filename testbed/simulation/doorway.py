"""Where a simulated node listens, and how it misbehaves there: on the socket, in the handshake, or with the answer."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from rpc.acceptor import BACKLOG, Gate
from rpc.body_limit import BodyLimit
from rpc.connection import BoundedProtocol
from rpc.server import protocol_config
from testbed.simulation.faults import Fault, Kind

TRANSPORT = "dslice.transport"  # key in the ASGI scope
MOST = 256  # connections to one node
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST

HONEST = Fault(Kind.OK)
# These have the listening socket itself changed; the others are about answers.
RAW = frozenset({Kind.BLACKHOLE, Kind.RESET})


@dataclass(slots=True)
class Doorway:
    """One node's listening address.

    Args:
        app: what the node answers.
        context: its certificate; `wrong` is another node's, None when there is no other.
        latency: seconds that every call takes.
        fault: how it behaves now; set it with `misbehave`.
    """

    app: ASGIApp
    host: str
    port: int
    context: ssl.SSLContext
    wrong: ssl.SSLContext | None = None
    latency: float = 0
    fault: Fault = HONEST
    _server: asyncio.Server | None = None
    _socket: socket.socket | None = None
    _taking: "asyncio.Task[None] | None" = None
    _gate: Gate = field(default_factory=lambda: Gate(MOST))
    _state: ServerState = field(default_factory=ServerState)
    _held: "set[asyncio.Transport]" = field(default_factory=set)

    async def open(self) -> None:
        """Listen as the fault says; port 0 becomes the one that was free."""
        if self.fault.kind is Kind.REFUSE:
            return
        loop = asyncio.get_running_loop()
        bound = _bound(self.host, self.port)
        self.port = bound.getsockname()[1]
        if self.fault.kind in RAW:
            self._server = await loop.create_server(lambda: Rude(self), sock=bound, backlog=BACKLOG)
            return
        context = self.wrong if self.fault.kind is Kind.WRONG_CERT else self.context
        config = protocol_config(BodyLimit(self.answer))
        bound.setblocking(False)
        bound.listen(BACKLOG)
        self._socket = bound
        made = partial(TellingProtocol, config, self._state, {}, loop)
        self._taking = asyncio.create_task(self._gate.take(bound, context, made))

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._taking is not None and self._socket is not None:
            self._taking.cancel()
            await asyncio.wait([self._taking])
            self._socket.close()
            self._gate.stop()
            self._taking = self._socket = None
        reset = self.fault.kind is Kind.RESET
        standing = [connection.transport for connection in self._state.connections]
        for transport in [*standing, *self._held]:
            _cut(transport, reset=reset)
        self._held.clear()
        await asyncio.sleep(0)

    async def misbehave(self, fault: Fault) -> None:
        """Behave so from now on, also to those who are connected."""
        before, self.fault = self.fault, fault
        if _listening(before) != _listening(fault):
            await self.close()
            await self.open()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The node's answer, as the fault has it."""
        fault = self.fault
        wait = self.latency + (fault.seconds if fault.kind is Kind.SLOW else 0)
        if wait:
            await asyncio.sleep(wait)
        if fault.kind not in _SPOILED:
            await self.app(scope, receive, send)
            return
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        await _SPOILED[fault.kind](messages, send, fault)
        _cut(scope[TRANSPORT], reset=False)


class TellingProtocol(BoundedProtocol):
    """Puts its transport into the scope, so that an answer can be cut off."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[TRANSPORT] = self.transport


class Rude(asyncio.Protocol):
    """Accepts, and then says nothing, or resets."""

    def __init__(self, doorway: Doorway) -> None:
        self.doorway = doorway

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast("asyncio.Transport", transport)
        if self.doorway.fault.kind is Kind.RESET:
            _cut(made, reset=True)
            return
        self.doorway._held.add(made)
        made.pause_reading()


async def _say_nothing(messages: list[Message], send: Send, fault: Fault) -> None:
    del messages, send, fault


async def _say_half(messages: list[Message], send: Send, fault: Fault) -> None:
    del fault
    start, body = _answer(messages)
    await send(start)
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    # What was said must leave before the connection is cut.
    await asyncio.sleep(0.05)


async def _say_slowly(messages: list[Message], send: Send, fault: Fault) -> None:
    start, body = _answer(messages)
    await send(start)
    for byte in body:
        await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
        await asyncio.sleep(fault.seconds)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    await asyncio.sleep(0.05)


_SPOILED: dict[Kind, Callable[[list[Message], Send, Fault], Awaitable[None]]] = {
    Kind.LOSE_ANSWER: _say_nothing,
    Kind.HALF_ANSWER: _say_half,
    Kind.DRIP: _say_slowly,
}


def _answer(messages: list[Message]) -> tuple[Message, bytes]:
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


def _listening(fault: Fault) -> Kind:
    """The kind of listening socket that a fault needs; those about answers need the ordinary one."""
    return fault.kind if fault.kind in {Kind.REFUSE, Kind.WRONG_CERT, *RAW} else Kind.OK


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _cut(transport: asyncio.Transport, *, reset: bool) -> None:
    if reset:
        with suppress(OSError, AttributeError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
