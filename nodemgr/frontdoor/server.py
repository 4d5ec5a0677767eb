"""The listening side of the front door: who may connect, how often, and for how long without logging in."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from nodemgr.access import Access, AccessTable
from nodemgr.frontdoor.connection import Connection, ServerContext
from nodemgr.frontdoor.forward import Here
from nodemgr.frontdoor.hostkey import host_key_line, open_host_key
from nodemgr.frontdoor.limits import MAX_STRANGERS, MAX_STRANGERS_PER_SOURCE, Client
from nodemgr.slivers.drivers.driver import Driver
from rpc.eviction import leaver, source_of
from rpc.sockets import binding, raise_descriptor_limit
from trust.clock import Clock

log = logging.getLogger(__name__)

LOGIN_SECONDS = 20
CHECK_SECONDS = 1
LEAVE_SECONDS = 1


class FrontDoorServer:
    """The SSH server of one node, on threads of its own.

    Args:
        driver: enters slivers.
        access: who may, asked at every login and channel.
        host_key_path: the host key's file; made if it is not there.
        host, port: where to listen; port 0 takes a free one.
        clock: against which a lease's end is held.
        login_seconds: how long a client may take to log in.
        accept_env: names (with *) of variables that a client's environment may bring, beside the usual ones.
        here: what the node is called; by default its address is `host`.
    """

    def __init__(
        self,
        driver: Driver,
        access: AccessTable,
        host_key_path: Path,
        host: str,
        port: int,
        clock: Clock,
        *,
        login_seconds: int = LOGIN_SECONDS,
        accept_env: Sequence[str] = (),
        here: Here | None = None,
    ) -> None:
        self._context = ServerContext(driver, access, clock, self._clients, here or Here("", host), accept_env)
        self._host_key = open_host_key(host_key_path)
        self._address = (host, port)
        self._login_seconds = login_seconds
        self._connections: dict[Connection, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._spare = -1
        self._threads: list[threading.Thread] = []

    @property
    def host_key_line(self) -> str:
        """The host's public key: `ssh-ed25519 AAAA…`."""
        return host_key_line(self._host_key)

    def start(self) -> tuple[str, int]:
        """Listen; the address and port, which answer from now on. Raises CannotListen."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        raise_descriptor_limit()
        with binding(*self._address, "DSLICE_FRONTDOOR"):
            self._listener = socket.create_server(self._address, family=family, backlog=128)
        self._spare = os.open(os.devnull, os.O_RDONLY)
        for name, work in (("front-door", self._accept), ("front-door-watch", self._watch)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        host, port = self._listener.getsockname()[:2]
        return host, port

    def stop(self) -> None:
        """Stop listening and end every session."""
        self._stopping.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        if self._listener is not None:
            self._listener.close()
            os.close(self._spare)
        for connection in self._all():
            connection.close()
        for connection in self._all():
            connection.join(5)

    def close_sessions(self, slice: str, *, keys: Collection[str] | None) -> None:
        """End the connections of `slice` that came in with one of `keys` (SHA256:… fingerprints); None = all."""
        for connection in self._all():
            granted, key = connection.granted, connection.key
            if granted is None or key is None or granted.slice != slice:
                continue
            if keys is None:
                connection.close(f"{slice} no longer runs on this node")
            elif key.fingerprint in keys:
                connection.close(f"your key no longer opens {slice}")

    def logged_in(self) -> int:
        """How many connections are logged in now."""
        return sum(connection.logged_in and not connection.over for connection in self._all())

    def _all(self) -> list[Connection]:
        with self._lock:
            return list(self._connections)

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 set before this thread starts
        while not self._stopping.is_set():
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._turn_away(self._listener)
                self._stopping.wait(0.1)
                continue
            try:
                self._welcome(sock, address[:2])
            except Exception:  # no thread to be had, say: the door stays open for the next one
                log.exception("front door: a connection could not be started")
                sock.close()

    def _turn_away(self, listener: socket.socket) -> None:
        """Out of descriptors: close the newcomer's connection with the spare one, so that nobody waits in vain."""
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        if not poller.poll(0):  # accept(2) wants a descriptor before anybody comes
            return
        with contextlib.suppress(OSError):
            os.close(self._spare)
            listener.accept()[0].close()
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _welcome(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self._make_room(source_of(address[0]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)
        connection = Connection(sock, address, self._context)
        connection.start(self._host_key)
        with self._lock:
            self._connections[connection] = time.monotonic()

    def _make_room(self, newcomer: str) -> None:
        """One stranger leaves where there are too many; waited for, so that threads do not pile up either."""
        strangers = [connection for connection in self._all() if connection.is_stranger]
        sources = [connection.source for connection in strangers]
        place = leaver(sources, newcomer, most=MAX_STRANGERS, most_per_source=MAX_STRANGERS_PER_SOURCE)
        if place is not None:
            strangers[place].close()
            strangers[place].join(LEAVE_SECONDS)

    def _clients(self) -> list[Client]:
        return [connection.client for connection in self._all() if not connection.over]

    def _watch(self) -> None:
        """Once a second: forget who is gone, end who does not log in and who may no longer be inside."""
        while not self._stopping.wait(CHECK_SECONDS):
            try:
                self._check()
            except Exception:
                log.exception("front door: the sessions could not be checked; trying again")

    def _check(self) -> None:
        with self._lock:
            for connection in [c for c in self._connections if c.over]:
                del self._connections[connection]
            present = dict(self._connections)
        late = time.monotonic() - self._login_seconds
        table: dict[str, Access | None] = {}
        for connection, since in present.items():
            if connection.leaving:
                connection.close()
            elif connection.logged_in:
                self._check_access(connection, table)
            elif since < late:
                connection.close()

    def _check_access(self, connection: Connection, table: dict[str, Access | None]) -> None:
        """End the sessions of who may no longer be inside; `table`: what this round has already looked up."""
        granted = connection.granted
        if granted is None:
            return
        try:
            if granted.slice not in table:
                table[granted.slice] = self._context.access.lookup(granted.slice)
            access = table[granted.slice]
            reason = connection.unwelcome(access)
            if reason is None and access is not None:
                connection.warn(access)
        except Exception:
            log.exception("front door: the access to %s could not be looked up; trying again", granted.slice)
            return
        if reason is not None:
            log.info("front door: sessions of %s closed: %s", granted.slice, reason)
            connection.close(reason)


# A client whose machine is gone is noticed after about two minutes.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
