"""paramiko's transport, held to bounds that its own code leaves open.

paramiko believes a packet's length field up to 4 GiB, a banner line of any length, and that a client keeps to the
window; it computes Diffie-Hellman in Python and exchanges keys as often as a client likes; it takes a wrongly guessed
key exchange for the right one; it keeps a thread for 15 s for each handshake, even one that is broken off, and looks
ten times a second whether an idle client says something; it knows no FIDO keys, and drops a client that offers a key of
a type it does not know before it can offer the next; it does not know `signal`; it answers in the midst of a key
exchange, or waits for its end on the thread that makes the keys; and it queues opened channels for an accept() that is
a thread per connection. Each override here closes one of these. The overridden methods are paramiko 5.1's own and
pinned; tests/integration/frontdoor drives each with a real client.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import (
    AUTH_SUCCESSFUL,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_REQUEST,
    cMSG_CHANNEL_OPEN,
    cMSG_CHANNEL_OPEN_FAILURE,
    cMSG_CHANNEL_OPEN_SUCCESS,
    cMSG_DEBUG,
    cMSG_DISCONNECT,
    cMSG_REQUEST_FAILURE,
    cMSG_REQUEST_SUCCESS,
)
from paramiko.message import Message
from paramiko.packet import Packetizer

from nodemgr.frontdoor.fed import FedChannel
from nodemgr.frontdoor.limits import WINDOW
from nodemgr.frontdoor.offered import OfferedKey
from nodemgr.frontdoor.wire import Wire
from trust.securitykeys import SECURITY_KEY_TYPES

# Bytes.
MAX_PACKET = 256 << 10
MAX_PACKET_BEFORE_LOGIN = 16 << 10
MAX_BANNER = 8 << 10
MAX_BEFORE_LOGIN = 128 << 10
MAX_AUTH_TRIES = 6
# Key exchanges of one connection before its login, and the least seconds between two after it.
MAX_EXCHANGES_BEFORE_LOGIN = 3
EXCHANGE_SECONDS = 0.2
# An idle connection looks this often whether it must exchange keys or send a sign of life.
IDLE_SECONDS = 5
# How long a client may take to accept a connection that it asked for with -R or -A.
OPEN_SECONDS = 30
# Requests that a client sends after this end has begun a key exchange, and before it has taken part.
MAX_ASKED_IN_EXCHANGE = 1_000
# Of whichever method was agreed on (RFC 4253, 7).
KEX_METHOD_PACKETS = range(30, 50)

DISCONNECT_BY_APPLICATION = 11

# Of each packet's MAC. paramiko's own is a loop in Python: a sixth of what a small request cost.
paramiko.util.constant_time_bytes_eq = hmac.compare_digest  # type: ignore[assignment]

LOG = "nodemgr.frontdoor.ssh"
# What a stranger on the network sends is no event of this node.
logging.getLogger(LOG).setLevel(logging.CRITICAL)

# All that costs no Python: a handshake takes the interpreter 1.5 ms with these, and 75 to 470 ms with the groups of
# Diffie-Hellman (docs/adr/0018). P-384 and P-521 cost ten times as much as X25519, and who has them has P-256.
_KEX = {
    "mlkem768x25519-sha256": "mlkem768x25519-sha256",
    "curve25519-sha256": "curve25519-sha256@libssh.org",  # one algorithm, two names (RFC 8731)
    "curve25519-sha256@libssh.org": "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256": "ecdh-sha2-nistp256",
}
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_ENGINES = paramiko.Transport._kex_info  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a channel is not opened: a code of RFC 4254, 5.1, and words for the client's user."""

    code: int
    reason: str


class ConnectionEvents(Protocol):
    """What a transport tells the connection that owns it; called on the transport's own thread."""

    def authenticated(self) -> None: ...
    def asked_to_open(self, kind: str, number: int, details: Message) -> Refused | None: ...
    def asked_globally(self, kind: str, details: Message) -> Sequence[int] | str: ...
    def channel_opened(self, channel: FedChannel) -> None: ...
    def channel_gone(self, number: int) -> None: ...
    def signalled(self, channel: paramiko.Channel, name: str) -> None: ...
    def ended(self) -> None: ...


class BoundedPacketizer(Packetizer):
    """Reads no packet over MAX_PACKET, no banner over MAX_BANNER, and little before the login.

    Who does not log in in time is ended by the server; paramiko's timer of the handshake, a thread, is not needed.
    """

    drops_guess = False
    _before_login = MAX_BEFORE_LOGIN
    _banner = MAX_BANNER
    logged_in = False

    def __init__(self, wire: Wire) -> None:
        super().__init__(cast(socket.socket, wire))
        self._wire = wire

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if n > (MAX_PACKET if self.logged_in else MAX_PACKET_BEFORE_LOGIN):
            raise paramiko.SSHException("packet too long")
        if not self.logged_in:
            self._before_login -= n
            if self._before_login < 0:
                raise paramiko.SSHException("too much said before the login")
            # OpenSSH's client holds a small packet back until the one before is acknowledged (Nagle), and the kernel
            # puts that off by 40 ms: twice in a login. Here what has come is acknowledged before more is waited for.
            with contextlib.suppress(OSError):
                self._wire.acknowledge()
        return super().read_all(n, check_rekey)

    def read_message(self) -> tuple[int, Message]:
        """The next packet, but not the one that a client sent for a key exchange which it guessed wrong."""
        kind, message = super().read_message()
        if self.drops_guess and kind in KEX_METHOD_PACKETS:
            self.drops_guess = False
            return self.read_message()
        return kind, message

    def _read_timeout(self, timeout: float) -> bytes:
        said: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self._banner -= len(said)
        if self._banner < 0:
            raise paramiko.SSHException("banner too long")
        return said

    def start_handshake(self, timeout: float) -> None:
        """Nothing to start."""


class PatientAuthHandler(AuthHandler):
    """MaxAuthTries as sshd counts them, and no end at the first key of an unknown type."""

    _asked_for_methods = False

    def _generate_key_from_request(self, algorithm: str, keyblob: bytes) -> OfferedKey:
        known = algorithm in (*self.transport.preferred_pubkeys, *SECURITY_KEY_TYPES)
        return OfferedKey(algorithm, keyblob if known else b"")

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

    _kex_info: ClassVar = {name: _ENGINES[engine] for name, engine in _KEX.items() if engine in _ENGINES}
    _active_check_timeout = IDLE_SECONDS

    def __init__(self, sock: socket.socket, events: ConnectionEvents) -> None:
        wire = cast(socket.socket, Wire(sock))
        super().__init__(wire, default_window_size=WINDOW, packetizer_class=BoundedPacketizer)
        offered = self.get_security_options()
        offered.kex, offered.ciphers, offered.digests = tuple(self._kex_info), _CIPHERS, _MACS
        self.events = events
        self._exchanges = 0
        self._exchanged = -EXCHANGE_SECONDS
        self._after_reply: Callable[[], None] | None = None
        self._after_exchange: list[tuple[Message, Callable[[], None] | None]] = []
        self.local_version = "SSH-2.0-dslice"
        self.set_log_channel(LOG)

    def after_reply(self, action: Callable[[], None]) -> None:
        """Run `action` once the reply to the request that is being handled has been sent: output that overtakes the
        reply, an exit status above all, confuses clients."""
        self._after_reply = action

    def disconnect(self, reason: str) -> None:
        """Tell the client that its connection ends, and why. Blocks while it reads nothing."""
        message = Message()
        message.add_byte(cMSG_DISCONNECT)
        message.add_int(DISCONNECT_BY_APPLICATION)
        message.add_string(reason)
        message.add_string("en")
        self._send_message(message)  # type: ignore[attr-defined]

    def unavailable(self) -> None:
        """Tell a client that wants to log in that it cannot be decided now, and end its connection."""
        self.auth_handler._disconnect_service_not_available()  # type: ignore[union-attr]

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.events.ended()

    def _negotiate_keys(self, m: Message) -> None:
        self._exchanges += 1
        if self.is_authenticated():  # a stranger may have to leave at once
            time.sleep(max(0.0, self._exchanged + EXCHANGE_SECONDS - time.monotonic()))
        elif self._exchanges > MAX_EXCHANGES_BEFORE_LOGIN:
            raise paramiko.SSHException("too many key exchanges before the login")
        self._exchanged = time.monotonic()
        said = Message(m.asbytes())
        super()._negotiate_keys(m)  # type: ignore[misc]
        cast(BoundedPacketizer, self.packetizer).drops_guess = self._guessed_wrong(said)

    def _guessed_wrong(self, said: Message) -> bool:
        """Whether the client has sent a first packet of an exchange that is none (RFC 4253, 7.1): it did not put first
        what we put first, even if it is what both then agree on."""
        theirs = self._really_parse_kex_init(said)  # type: ignore[attr-defined]
        own = Message(self._latest_kex_init[1:])  # type: ignore[attr-defined]
        ours = self._really_parse_kex_init(own)  # type: ignore[attr-defined]
        first = [(each["kex_algo_list"][:1], each["server_key_algo_list"][:1]) for each in (theirs, ours)]
        return bool(theirs["kex_follows"]) and first[0] != first[1]

    def _parse_newkeys(self, m: Message) -> None:
        waiting, self._after_exchange = self._after_exchange, []
        for message, action in waiting:  # before other threads go on: what they send on a channel follows its opening
            self._reply(message, action)
        first = self.auth_handler is None
        super()._parse_newkeys(m)  # type: ignore[misc]
        if first:
            self.auth_handler = PatientAuthHandler(self)

    def _send_user_message(self, data: Message) -> None:
        """Nothing of this kind may be said while keys are exchanged (RFC 4253, 7.1). Other threads wait for its end;
        the transport's own brings it about, so what it has to say is said after it."""
        if threading.current_thread() is not self:
            super()._send_user_message(data)  # type: ignore[misc]
            return
        action, self._after_reply = self._after_reply, None
        if self.clear_to_send.is_set():
            self._reply(data, action)
        elif len(self._after_exchange) < MAX_ASKED_IN_EXCHANGE:
            self._after_exchange.append((data, action))
        else:
            raise paramiko.SSHException("too much asked while keys are exchanged")

    def _reply(self, message: Message, action: Callable[[], None] | None) -> None:
        self._send_message(message)  # type: ignore[attr-defined]
        if action is not None:
            action()

    def open_to_client(self, kind: str, details: Sequence[str | int], window: int) -> FedChannel | None:
        """Open a channel for a connection that was made inside; None when the client does not take it. Blocking, from
        any thread but the transport's own."""
        message = Message()
        message.add_byte(cMSG_CHANNEL_OPEN)
        message.add_string(kind)
        with self.lock:
            number = self._next_channel()  # type: ignore[attr-defined]
            channel = self._new_channel(number, window)
            self.channel_events[number] = answered = threading.Event()
        for part in (number, window, self.default_max_packet_size, *details):
            message.add_int(part) if isinstance(part, int) else message.add_string(part)
        self._send_user_message(message)
        answered.wait(OPEN_SECONDS)
        opened = self.active and answered.is_set() and self._channels.get(number) is channel  # type: ignore[attr-defined]
        if not opened:
            self._channels.delete(number)  # type: ignore[attr-defined]
        return channel if opened else None

    def _new_channel(self, number: int, window: int) -> FedChannel:
        channel = FedChannel(number)
        self._channels.put(number, channel)  # type: ignore[attr-defined]
        self.channels_seen[number] = True
        channel._set_transport(self)  # type: ignore[attr-defined]
        channel._set_window(window, self.default_max_packet_size)  # type: ignore[attr-defined]
        return channel

    def _parse_channel_open(self, m: Message) -> None:
        """paramiko's own gives no reasons, and knows no sockets of files."""
        kind, theirs, window, largest = m.get_text(), m.get_int(), m.get_int(), m.get_int()
        with self.lock:
            number = self._next_channel()  # type: ignore[attr-defined]
        refused = self.events.asked_to_open(kind, number, m)
        answer = Message()
        answer.add_byte(cMSG_CHANNEL_OPEN_FAILURE if refused else cMSG_CHANNEL_OPEN_SUCCESS)
        answer.add_int(theirs)
        if refused is not None:
            answer.add_int(refused.code)
            answer.add_string(refused.reason)
            answer.add_string("en")
            self._send_user_message(answer)
            return
        with self.lock:
            channel = self._new_channel(number, self.default_window_size)
            channel._set_remote_channel(theirs, window, largest)  # type: ignore[attr-defined]
        for part in (number, self.default_window_size, self.default_max_packet_size):
            answer.add_int(part)
        self._send_user_message(answer)
        self.events.channel_opened(channel)

    def _parse_global_request(self, m: Message) -> None:
        """The reply of a port forward has a port only where the client left the choice (RFC 4254, 7.1)."""
        kind, wanted = m.get_text(), m.get_boolean()
        answer = self.events.asked_globally(kind, m)
        if isinstance(answer, str) and answer:
            self._explain(answer)
        reply = Message()
        reply.add_byte(cMSG_REQUEST_FAILURE if isinstance(answer, str) else cMSG_REQUEST_SUCCESS)
        for part in () if isinstance(answer, str) else answer:
            reply.add_int(part)
        if wanted:
            self._send_user_message(reply)

    def _explain(self, reason: str) -> None:
        """A refused global request has no room for a reason: as sshd does, it is a message that `ssh -v` shows."""
        message = Message()
        message.add_byte(cMSG_DEBUG)
        message.add_boolean(True)
        message.add_string(reason)
        message.add_string("en")
        self._send_message(message)  # type: ignore[attr-defined]

    def _unlink_channel(self, chanid: int) -> None:
        super()._unlink_channel(chanid)  # type: ignore[misc]
        self.events.channel_gone(chanid)


def _heard(original: Callable[[paramiko.Channel, Message], None]) -> Callable[[paramiko.Channel, Message], None]:
    """A handler of channel requests that knows `signal` too (RFC 4254, 6.9), which wants no reply."""

    def hear(channel: Any, message: Message) -> None:
        request = Message(message.get_remainder())
        if request.get_text() == "signal":
            request.get_boolean()
            channel.transport.events.signalled(channel, request.get_text())
        original(channel, message)

    return hear


_handlers = paramiko.Transport._channel_handler_table  # type: ignore[attr-defined]
BoundedTransport._channel_handler_table = _handlers | {  # type: ignore[attr-defined]
    MSG_CHANNEL_DATA: FedChannel._feed,
    MSG_CHANNEL_EXTENDED_DATA: FedChannel._feed_extended,
    MSG_CHANNEL_REQUEST: _heard(_handlers[MSG_CHANNEL_REQUEST]),
}
