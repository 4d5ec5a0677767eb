"""One client's connection: who it is, what it may open. Deny by default: what is not named here is refused."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_RESOURCE_SHORTAGE,
    OPEN_FAILED_UNKNOWN_CHANNEL_TYPE,
)

from nodemgr.access import Access, AccessTable
from nodemgr.frontdoor.answers import otherwise
from nodemgr.frontdoor.channel import SessionChannel
from nodemgr.frontdoor.fed import FedChannel
from nodemgr.frontdoor.forward import Forward, Here, allowed, dial
from nodemgr.frontdoor.lending import connected
from nodemgr.frontdoor.limits import (
    MAX_CHANNELS_EVER,
    MAX_CHANNELS_PER_CONNECTION,
    Client,
    admits_channel,
    admits_user,
    window,
)
from nodemgr.frontdoor.reverse import LOOPBACK, Reverse
from nodemgr.frontdoor.signals import number_of
from nodemgr.frontdoor.transport import BoundedTransport, Refused
from nodemgr.frontdoor.variables import accepted
from nodemgr.frontdoor.welcome import held, unwelcome, warning
from nodemgr.slivers.drivers.driver import Driver, Pty, Session
from nodemgr.slivers.inside.etc import SFTP_SERVER, SHELL
from rpc.eviction import source_of
from trust.clock import Clock
from trust.errors import Code, Refusal
from trust.sshkeys import PublicKey

log = logging.getLogger(__name__)

Make = Callable[[FedChannel], SessionChannel | Forward]
_BROKEN: Refused | None = Refused(OPEN_FAILED_RESOURCE_SHORTAGE, "this node cannot open it now; try again later")
_NO_ANSWER: Sequence[int] | str = "this node cannot forward now; try again later"
_NO_FORWARDS = Refused(OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, "the slice's own key forwards nothing; use a user's")


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the connections of one front door share: who enters slivers, who may, the time, who else is there,
    what the node is called, and which variables of a client's environment are taken beside the usual ones."""

    driver: Driver
    access: AccessTable
    clock: Clock
    clients: Callable[[], Sequence[Client]]
    here: Here
    accept_env: Sequence[str] = ()


class Connection(paramiko.ServerInterface):
    """Authentication and channel requests of one client, asked by paramiko on the transport's thread."""

    def __init__(self, sock: socket.socket, address: tuple[str, int], context: ServerContext) -> None:
        self.address = address[0]
        self.source = source_of(address[0])
        self._ends = (address, sock.getsockname()[:2])
        self.key: PublicKey | None = None
        self.granted: Access | None = None
        self._sock = sock
        self._context = context
        self._kinds: dict[int, Make] = {}
        self._channels: dict[int, SessionChannel | Forward] = {}
        self._ever = 0
        self._closed = False
        self._left: float | None = None
        self._done = threading.Event()
        self._transport = BoundedTransport(sock, self)
        self._reverse = Reverse(self._start_relay, self._offer, self._adopt)

    def start(self, host_key: paramiko.PKey) -> None:
        """Begin the protocol on a thread of the transport's own; returns at once."""
        self._transport.add_server_key(host_key)
        self._transport.set_keepalive(30)
        self._transport.start_server(event=threading.Event(), server=self)

    @property
    def logged_in(self) -> bool:
        return self._transport.is_authenticated()

    @property
    def client(self) -> Client:
        """How it counts against the bounds."""
        slice = self.granted.slice if self.logged_in and self.granted is not None else None
        return Client(self.source, slice, len(self._channels) + self._reverse.count)

    @property
    def is_stranger(self) -> bool:
        """Whether it takes up a stranger's place: there, not told to go, and not logged in."""
        return not self.logged_in and not self._closed and not self.over

    @property
    def leaving(self) -> bool:
        """Whether it was told to go, and is still there."""
        return self._closed and not self.over

    def close(self, reason: str = "") -> None:
        """End it from any thread, without waiting: the transport reads the end of its socket and closes all.

        A client that is logged in is told a reason first; one that does not take it is cut off by the next call.
        """
        first, self._closed = not self._closed, True
        if reason and first and self.logged_in:
            with contextlib.suppress(RuntimeError):  # no thread to be had
                threading.Thread(target=self._part, args=(reason,), name="front-door-part", daemon=True).start()
                return
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._sock.close()

    def _part(self, reason: str) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._transport.disconnect(reason)
        self.close()

    @property
    def over(self) -> bool:
        return self._done.is_set()

    def join(self, timeout: float) -> None:
        self._done.wait(timeout)

    def unwelcome(self, access: Access | None) -> str | None:
        """Why who has logged in may no longer stay, given what the table says now; None: they may."""
        if self.granted is None or self.key is None:
            return "nobody has logged in"
        return unwelcome(self.granted, self.key, access, self._context.clock.now())

    def still_welcome(self) -> bool:
        """Whether they may, asked of the table."""
        return self.granted is not None and self.unwelcome(self._context.access.lookup(self.granted.slice)) is None

    def warn(self, access: Access) -> None:
        """Tell whoever sits at a terminal that the lease ends soon, each time once."""
        before, self._left = self._left, (access.expires_at - self._context.clock.now()).total_seconds()
        text = warning(access, before, self._left)
        for channel in list(self._channels.values()) if text is not None else ():
            if isinstance(channel, SessionChannel):
                channel.notify(str(text))

    # paramiko asks

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Asked without a signature first and with one after; only the last yes before the login counts."""
        try:
            access = self._lookup(username)
        except Exception:
            log.exception("front door: who may log in to %.64r could not be looked up", username)
            self._transport.unavailable()
            return AUTH_FAILED
        shown = held(access, key.asbytes()) if access else None
        if access is None or shown is None:
            return AUTH_FAILED
        self.granted, self.key = access, shown
        return AUTH_SUCCESSFUL

    @otherwise(False)
    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        modes: bytes,
    ) -> bool:
        session = self._session(channel)
        return session is not None and session.request_pty(term.decode("ascii", "replace"), width, height, modes)

    @otherwise(False)
    def check_channel_env_request(self, channel: paramiko.Channel, name: bytes, value: bytes) -> bool:
        session, word = self._session(channel), name.decode("ascii", "replace")
        taken = session is not None and accepted(self._context.accept_env, word, value)
        return taken and session is not None and session.set_variable(word, os.fsdecode(value))

    @otherwise(False)
    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        session = self._session(channel)
        return session is not None and session.resize(width, height)

    @otherwise(False)
    def check_channel_forward_agent_request(self, channel: paramiko.Channel) -> bool:
        session = self._session(channel)
        return session is not None and self._forwards and session.request_agent()

    @otherwise(False)
    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._start(channel, [])

    @otherwise(False)
    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if b"\0" in command:
            return False
        return self._start(channel, [SHELL, "-c", os.fsdecode(command)])

    @otherwise(False)
    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        return name == "sftp" and self._start(channel, [SFTP_SERVER])

    # the transport tells

    def authenticated(self) -> None:
        assert self.granted is not None  # noqa: S101 the last key that was accepted
        assert self.key is not None  # noqa: S101
        log.info("front door: %s logged in from %s with %s", self.granted.slice, self.address, self.key.fingerprint)
        if not admits_user(self.granted.slice, self._context.clients()):
            self.close()

    @otherwise(_BROKEN)
    def asked_to_open(self, kind: str, number: int, details: paramiko.Message) -> Refused | None:
        if kind == "session":
            return self._open(number, self._session_channel)
        if kind == "direct-tcpip":
            return self._open_tcp(number, (details.get_text(), details.get_int()))
        if kind == "direct-streamlocal@openssh.com":
            return self._open_path(number, details.get_text())
        return Refused(
            OPEN_FAILED_UNKNOWN_CHANNEL_TYPE, f"this front door has no {kind[:40]}; it forwards ports and sockets"
        )

    @otherwise(_NO_ANSWER)
    def asked_globally(self, kind: str, details: paramiko.Message) -> Sequence[int] | str:
        """What a global request is answered: numbers, or a reason why not."""
        if kind in ("tcpip-forward", "cancel-tcpip-forward"):
            host, port = details.get_text(), details.get_int()
        elif kind in ("streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com"):
            host, port = details.get_text(), 0
        else:
            return ""
        if kind.startswith("cancel"):
            return () if self._reverse.cancel(host, port) else "nobody listens there"
        try:
            return self._listen(kind, host, port)
        except Refusal as refusal:
            return f"{host}{f':{port}' if port else ''} is not listened on: {refusal.reason}"

    def channel_opened(self, channel: FedChannel) -> None:
        make = self._kinds.pop(channel.chanid)
        try:
            self._channels[channel.chanid] = make(channel)
        except Exception:  # no descriptor or thread to be had: the other channels go on
            log.exception("front door: a channel could not be served")
            channel.close()

    def channel_gone(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is None:
            return
        try:
            channel.gone()
        except Exception:
            log.exception("front door: a channel could not be ended")

    @otherwise(None)
    def signalled(self, channel: paramiko.Channel, name: str) -> None:
        session, number = self._session(channel), number_of(name)
        if session is not None and number is not None:
            session.signal(number)

    def ended(self) -> None:
        for number in list(self._channels):
            self.channel_gone(number)
        self._reverse.close()
        self._done.set()

    def _open(self, number: int, make: Make) -> Refused | None:
        """Owner, key and lease end are looked at again for each channel."""
        refused = self._no_room()
        if refused is None:
            self._transport.default_window_size = self._window()
            self._kinds[number] = make
        return refused

    def _no_room(self) -> Refused | None:
        """Why nothing more is opened for this client now."""
        self._ever += 1
        if self.granted is None or not self.still_welcome():
            self.close()
            return Refused(OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, "this key or the lease is no longer good here")
        full = self.client.channels >= MAX_CHANNELS_PER_CONNECTION or self._ever > MAX_CHANNELS_EVER
        if full or not admits_channel(self.granted.slice, self._context.clients()):
            return Refused(
                OPEN_FAILED_RESOURCE_SHORTAGE, "too many sessions and forwards of this slice; end some first"
            )
        return None

    def _window(self) -> int:
        assert self.granted is not None  # noqa: S101 no channel without a login
        return window(self.granted.slice, self._context.clients())

    @property
    def _forwards(self) -> bool:
        """Whether this client may forward: a user, not the slice's own key."""
        return self.granted is not None and self.key is not None and self.key.blob != self.granted.slice_key.blob

    def _open_tcp(self, number: int, destination: tuple[str, int]) -> Refused | None:
        access = self._lookup(self.granted.slice) if self._forwards and self.granted else None
        if access is None:
            return _NO_FORWARDS
        target = allowed(access, self._context.driver, self._context.here, destination)
        if target is None:
            host, port = destination
            reason = f"no front door of a node and no port of the sliver's is at {host[:80]}:{port}"
            return Refused(OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, reason)
        return self._open(number, lambda channel: Forward(channel, lambda: dial(target)))

    def _open_path(self, number: int, path: str) -> Refused | None:
        if not self._forwards:
            return _NO_FORWARDS
        return self._open(number, lambda channel: Forward(channel, lambda: connected(self._start_relay, path)))

    def _listen(self, kind: str, host: str, port: int) -> Sequence[int]:
        """Refusal with the reason."""
        refused = self._no_room() if self._forwards else _NO_FORWARDS
        if refused is not None:
            raise Refusal(Code.NOT_ALLOWED, refused.reason)
        if kind == "streamlocal-forward@openssh.com":
            self._reverse.listen_on(host)
            return ()
        if host not in LOOPBACK:
            raise Refusal(Code.NOT_ALLOWED, "a sliver listens for ssh -R on localhost only")
        taken = self._reverse.listen_at(host, port)
        return () if port else (taken,)

    def _offer(self, kind: str, details: Sequence[str | int]) -> FedChannel | None:
        return self._transport.open_to_client(kind, details, self._window()) if self._no_room() is None else None

    def _adopt(self, channel: FedChannel, forward: Forward) -> None:
        self._channels[channel.chanid] = forward
        if channel.closed:  # before it was known here
            self.channel_gone(channel.chanid)

    def _start_relay(self, argv: Sequence[str], control: int) -> Session:
        assert self.granted is not None  # noqa: S101 no channel without a login
        return self._context.driver.enter(self.granted.slice, argv, pty=None, control=control)

    def _session_channel(self, channel: FedChannel) -> SessionChannel:
        return SessionChannel(channel, self._enter, self._reverse)

    def _session(self, channel: paramiko.Channel) -> SessionChannel | None:
        found = self._channels.get(channel.chanid)
        return found if isinstance(found, SessionChannel) else None

    def _start(self, channel: paramiko.Channel, argv: Sequence[str]) -> bool:
        session = self._session(channel)
        if session is None or not self.still_welcome() or not session.start(argv):
            return False
        self._transport.after_reply(session.replied)
        return True

    def _enter(self, argv: Sequence[str], pty: Pty | None, variables: Mapping[str, str]) -> Session:
        assert self.granted is not None  # noqa: S101 no channel without a login
        access = self._lookup(self.granted.slice)
        if access is not None and access.stopped:
            raise Refusal(Code.NOT_FOUND, access.stopped)
        (host, port), (here, door) = self._ends
        own = {"SSH_CLIENT": f"{host} {port} {door}", "SSH_CONNECTION": f"{host} {port} {here} {door}"}
        return self._context.driver.enter(self.granted.slice, argv, pty=pty, variables={**variables, **own})

    def _lookup(self, slice: str) -> Access | None:
        access = self._context.access.lookup(slice)
        return access if access is not None and access.expires_at > self._context.clock.now() else None
