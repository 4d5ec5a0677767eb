"""Who is connected to a server, and who has to go when it is full: a newcomer gets in, a stranger leaves.

A stranger is a connection that has not finished its handshake, has not asked for anything yet, or shows no certificate.
Only when a process is out of descriptors do others leave, those that wait for nothing.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from rpc.connection import BoundedProtocol
from rpc.eviction import leaver, source_of
from rpc.sockets import Handed

BACKLOG = 512
HANDSHAKE = 10  # seconds
GOODBYE = 1  # second for last answers to leave and TLS to close
MAX_STRANGERS = 1_000  # each may take 256 KiB of buffers
PAUSE = 0.2  # seconds, when the system gives no more connections
OTHERS = 256  # descriptors for everything that is no connection: the database's, files, other servers

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Guest:
    """One connection from its first packet on."""

    source: str
    protocol: BoundedProtocol | None = None
    handshake: "asyncio.Task[None] | None" = None

    @property
    def stands(self) -> bool:
        """Whether its handshake is over."""
        return self.protocol is not None and self.protocol.transport is not None

    @property
    def waits(self) -> bool:
        """Whether it waits for an answer."""
        return self.protocol is not None and self.protocol.answering

    def leave(self) -> None:
        """Cut it."""
        if self.stands and self.protocol is not None:
            self.protocol.transport.abort()
        elif self.handshake is not None:
            self.handshake.cancel()


@dataclass(slots=True)
class Gate:
    """All connections of one process.

    Args:
        most: how many there may be in all; of them at most half are strangers, at most a quarter from one source.
    """

    most: int
    guests: dict[Guest, None] = field(default_factory=dict)  # the oldest first
    # Those of them that are strangers: looked at for each newcomer, while thousands of others may stand.
    strangers: dict[Guest, None] = field(default_factory=dict)

    async def take(
        self, bound: socket.socket, context: ssl.SSLContext | None, factory: Callable[[], BoundedProtocol]
    ) -> None:
        """Take connections for ever. The socket listens already, and does not block."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                plain, address = await loop.sock_accept(bound)
            except OSError as error:
                log.warning("no connection can be taken: %s", error)
                self._make_room("", 0)
                await asyncio.sleep(PAUSE)
                continue
            source = source_of(address[0]) if isinstance(address, tuple) else ""
            self._make_room(source, self.most)
            guest = Guest(source)
            self.guests[guest] = self.strangers[guest] = None
            guest.handshake = asyncio.create_task(self._open(guest, plain, context, factory))
            await asyncio.sleep(0)  # others, too, under a flood of them

    def stop(self) -> None:
        """Cut those that have not finished their handshake."""
        for guest in list(self.guests):
            if not guest.stands:
                guest.leave()

    async def _open(
        self,
        guest: Guest,
        plain: socket.socket,
        context: ssl.SSLContext | None,
        factory: Callable[[], BoundedProtocol],
    ) -> None:
        def made() -> BoundedProtocol:
            guest.protocol = factory()
            guest.protocol.gone = lambda: self._forget(guest)
            guest.protocol.known = lambda: self.strangers.pop(guest, None)
            return guest.protocol

        encrypted = {"ssl_handshake_timeout": HANDSHAKE, "ssl_shutdown_timeout": GOODBYE} if context else {}
        handed = Handed.instead(plain)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(made, handed, ssl=context, **encrypted)
        except (OSError, asyncio.CancelledError):  # theirs to tell: a stranger's handshake failed, or it had to go
            self._forget(guest)
        finally:
            guest.handshake = None  # over; it would be kept for as long as the connection stands
            if guest.protocol is None:
                self._forget(guest)
                handed.close()

    def _make_room(self, newcomer: str, most: int) -> None:
        """Have one leave where it takes one; with ``most`` 0 in any case."""
        strangers = list(self.strangers)
        limit = min(MAX_STRANGERS, self.most // 2)
        place = leaver([each.source for each in strangers], newcomer, most=limit, most_per_source=max(1, limit // 2))
        if place is not None:
            self._end(strangers[place])
        elif len(self.guests) >= most:
            idle = strangers or [guest for guest in self.guests if not guest.waits]
            sources = [each.source for each in idle]
            place = leaver(sources, "", most=len(sources), most_per_source=len(sources) + 1) if idle else None
            if place is not None:
                self._end(idle[place])

    def _end(self, guest: Guest) -> None:
        self._forget(guest)
        guest.leave()

    def _forget(self, guest: Guest) -> None:
        self.guests.pop(guest, None)
        self.strangers.pop(guest, None)
