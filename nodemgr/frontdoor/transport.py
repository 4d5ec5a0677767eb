"""paramiko's transport, held to bounds that its own code leaves open.

paramiko believes a packet's length field up to 4 GiB, a banner line of any length, and that a client keeps to the
window; it knows no FIDO keys, and drops a client that offers a key of a type it does not know before it can offer the
next; and it queues opened channels for an accept() that is a thread per connection. Each override here closes one of
these. The overridden methods are paramiko 5.1's own and pinned; tests/integration/frontdoor drives each with a real
client.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol, cast

import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import (
    AUTH_SUCCESSFUL,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
)
from paramiko.message import Message
from paramiko.packet import Packetizer

from nodemgr.frontdoor.securitykeys import OfferedSecurityKey
from trust.securitykeys import SECURITY_KEY_TYPES

MAX_PACKET = 256 << 10
MAX_BANNER = 8 << 10
MAX_BEFORE_LOGIN = 512 << 10
WINDOW = 2 << 20
MAX_AUTH_TRIES = 6

LOG = "nodemgr.frontdoor.ssh"
# What a stranger on the network sends is no event of this node.
logging.getLogger(LOG).setLevel(logging.CRITICAL)

_WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
    "kex": ["diffie-hellman-group14-sha256", "diffie-hellman-group-exchange-sha256"],
}


class ConnectionEvents(Protocol):
    """What a transport tells the connection that owns it; called on the transport's own thread."""

    def authenticated(self) -> None: ...
    def channel_opened(self, channel: paramiko.Channel) -> None: ...
    def channel_gone(self, number: int) -> None: ...
    def ended(self) -> None: ...


class BoundedPacketizer(Packetizer):
    """Reads no packet over MAX_PACKET, no banner over MAX_BANNER, and little before the login."""

    _before_login = MAX_BEFORE_LOGIN
    _banner = MAX_BANNER
    logged_in = False

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if n > MAX_PACKET:
            raise paramiko.SSHException("packet too long")
        if not self.logged_in:
            self._before_login -= n
            if self._before_login < 0:
                raise paramiko.SSHException("too much said before the login")
        return super().read_all(n, check_rekey)

    def _read_timeout(self, timeout: float) -> bytes:
        said: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self._banner -= len(said)
        if self._banner < 0:
            raise paramiko.SSHException("banner too long")
        return said


class UnusableKey:
    """Stands for a key that this server cannot check, so that the client may go on to its next one."""

    def asbytes(self) -> bytes:
        return b""


class PatientAuthHandler(AuthHandler):
    """MaxAuthTries as sshd counts them, and no end at the first key of an unknown type."""

    _asked_for_methods = False

    def _generate_key_from_request(self, algorithm: str, keyblob: bytes) -> object:
        try:
            if algorithm in SECURITY_KEY_TYPES:
                return OfferedSecurityKey(keyblob)
            key: object = super()._generate_key_from_request(algorithm, keyblob)  # type: ignore[misc]
        except Exception:  # noqa: BLE001 whatever a stranger's key blob does to the parsers
            return UnusableKey()
        return UnusableKey() if key is None else key

    def _send_auth_result(self, username: str, method: str, result: int) -> None:
        super()._send_auth_result(username, method, result)  # type: ignore[misc]
        if result == AUTH_SUCCESSFUL:
            cast(BoundedPacketizer, self.transport.packetizer).logged_in = True
            cast(BoundedTransport, self.transport).events.authenticated()
            return
        if method == "none" and not self._asked_for_methods:
            self._asked_for_methods = True
            self.auth_fail_count = 0
        if self.auth_fail_count >= MAX_AUTH_TRIES:
            self._disconnect_no_more_auth()  # type: ignore[attr-defined]


class BoundedTransport(paramiko.Transport):
    """One client's connection in server mode.

    Args:
        sock: the accepted socket.
        events: who is told of its channels and its end.
    """

    def __init__(self, sock: socket.socket, events: ConnectionEvents) -> None:
        super().__init__(
            sock, default_window_size=WINDOW, disabled_algorithms=_WEAK, packetizer_class=BoundedPacketizer
        )
        self.events = events
        self._after_reply: Callable[[], None] | None = None
        self.local_version = "SSH-2.0-dslice"
        self.set_log_channel(LOG)

    def after_reply(self, action: Callable[[], None]) -> None:
        """Run `action` once the reply to the request that is being handled has been sent: output that overtakes the
        reply, an exit status above all, confuses clients."""
        self._after_reply = action

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.events.ended()

    def _parse_newkeys(self, m: Message) -> None:
        first = self.auth_handler is None
        super()._parse_newkeys(m)  # type: ignore[misc]
        if first:
            self.auth_handler = PatientAuthHandler(self)

    def _send_user_message(self, data: Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        if self._after_reply is not None and threading.current_thread() is self:
            action, self._after_reply = self._after_reply, None
            action()

    def _queue_incoming_channel(self, channel: paramiko.Channel) -> None:
        self.events.channel_opened(channel)

    def _unlink_channel(self, chanid: int) -> None:
        super()._unlink_channel(chanid)  # type: ignore[misc]
        self.events.channel_gone(chanid)


def _fed(original: Callable[[paramiko.Channel, Message], None]) -> Callable[[paramiko.Channel, Message], None]:
    """A handler of channel data that ends the connection of a client that sends beyond its window."""

    def feed(channel: Any, message: Message) -> None:
        if len(channel.in_buffer) + len(channel.in_stderr_buffer) > WINDOW:
            raise paramiko.SSHException("client ignores the window")
        original(channel, message)

    return feed


_handlers = paramiko.Transport._channel_handler_table  # type: ignore[attr-defined]
BoundedTransport._channel_handler_table = _handlers | {  # type: ignore[attr-defined]
    number: _fed(_handlers[number]) for number in (MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA)
}
