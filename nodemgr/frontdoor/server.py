"""The listening side of the front door: who may knock, how often, and for how long without saying who they are."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import threading
import time
from collections.abc import Collection
from pathlib import Path

from nodemgr.access import AccessTable
from nodemgr.frontdoor.connection import Connection, House
from nodemgr.frontdoor.hostkey import host_key_line, open_host_key
from nodemgr.frontdoor.room import Guest, may_knock
from nodemgr.slivers.driver import Driver
from trust.clock import Clock

log = logging.getLogger(__name__)

LOGIN_SECONDS = 20
CHECK_SECONDS = 1


class FrontDoorServer:
    """The SSH server of one node, on threads of its own.

    Args:
        driver: enters slivers.
        access: who may, asked at every login and channel.
        host_key_path: the host key's file; made if it is not there.
        host, port: where to listen; port 0 takes a free one.
        clock: against which a lease's end is held.
        login_seconds: how long a client may take to log in.
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
    ) -> None:
        self._house = House(driver, access, clock, self._guests)
        self._host_key = open_host_key(host_key_path)
        self._address = (host, port)
        self._login_seconds = login_seconds
        self._connections: dict[Connection, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    @property
    def host_key_line(self) -> str:
        """The host's public key: `ssh-ed25519 AAAA…`."""
        return host_key_line(self._host_key)

    def start(self) -> tuple[str, int]:
        """Listen; the address and port, which answer from now on. OSError when they are taken."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        _raise_descriptor_limit()
        self._listener = socket.create_server(self._address, family=family, backlog=128)
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
            if keys is None or key.fingerprint in keys:
                connection.close()

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
            except OSError:
                if self._stopping.wait(0.1):  # out of descriptors, or we are stopping
                    return
                continue
            try:
                self._welcome(sock, address[0])
            except Exception:  # no thread to be had, say: the door stays open for the next one
                log.exception("front door: a connection could not be started")
                sock.close()

    def _welcome(self, sock: socket.socket, source: str) -> None:
        if not may_knock(source, self._guests()):
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)
        connection = Connection(sock, source, self._house)
        connection.start(self._host_key)
        with self._lock:
            self._connections[connection] = time.monotonic()

    def _guests(self) -> list[Guest]:
        return [connection.guest for connection in self._all() if not connection.over]

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
        slices = {c.granted.slice for c in present if c.logged_in and c.granted is not None}
        table = {slice: self._house.access.lookup(slice) for slice in slices}
        late = time.monotonic() - self._login_seconds
        for connection, since in present.items():
            granted = connection.granted
            if not connection.logged_in or granted is None:
                if since < late:
                    connection.close()
            elif granted.slice in table and not connection.welcome(table[granted.slice]):
                log.info("front door: sessions of %s closed: key or lease ended", granted.slice)
                connection.close()


def _raise_descriptor_limit() -> None:
    """A session takes five descriptors; the usual soft limit of 1,024 is for programs with select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# A client whose machine is gone is noticed after about two minutes.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
