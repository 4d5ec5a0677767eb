"""One forwarded connection: from a client to another node's front door or into the own sliver, or out of the sliver."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nodemgr.access import Access
from nodemgr.frontdoor.fed import FedChannel, Target
from nodemgr.frontdoor.pump import CHANNEL_LOST, inwards, outwards
from trust.errors import Refusal

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
LINGER = 1  # second for what a client has sent before it closed its channel

# What a user may call the node that the sliver is on; `localhost` is dialled as the first.
_LOOPBACK = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}


@runtime_checkable
class PortOwner(Protocol):
    """A driver that can tell its slivers' ports from the host's."""

    def owns_port(self, slice: str, address: str, port: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Here:
    """What users call the node that the sliver is on: its name and its address."""

    name: str
    address: str

    def addresses(self, host: str) -> Sequence[str]:
        """Where `host` may listen, if it is this node; its name may be either of two addresses inside."""
        if host in _LOOPBACK:
            return [_LOOPBACK[host]]
        return {self.address: [self.address], self.name: [self.address, "127.0.0.1"]}.get(host, [])


def allowed(access: Access, driver: object, here: Here, destination: tuple[str, int]) -> tuple[str, int] | None:
    """Where to connect for a client that wants `destination`: a peer's front door, or a port on which the sliver
    itself listens. None: nowhere."""
    if destination in access.peers:
        return destination
    host, port = destination
    if not isinstance(driver, PortOwner):
        return None
    owned = (each for each in here.addresses(host) if driver.owns_port(access.slice, each, port))
    address = next(owned, None)
    return (address, port) if address is not None else None


def dial(destination: tuple[str, int]) -> socket.socket:
    """A connection there. OSError."""
    return socket.create_connection(destination, timeout=CONNECT_SECONDS)


class Forward:
    """One forwarded connection; connecting happens here, so that a dead peer holds up no other channel.

    Args:
        channel: the client's end.
        connect: gives the other end, which is closed here. OSError or Refusal.
    """

    def __init__(self, channel: FedChannel, connect: Callable[[], socket.socket]) -> None:
        self._channel = channel
        self._connect = connect
        self._peer: socket.socket | None = None
        self._gone = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._over = False
        try:
            threading.Thread(target=self._run, name="forward", daemon=True).start()
        except RuntimeError:
            os.close(self._wake)
            raise

    def gone(self) -> None:
        """The client closed the channel, or is lost."""
        with self._lock:
            self._gone = True
            if not self._over:
                os.eventfd_write(self._wake, 1)
            if self._peer is not None:
                _read_no_more(self._peer)

    def _run(self) -> None:
        try:
            with self._connect() as peer:
                self._keep(peer)
                self._serve(peer)
        except (OSError, Refusal):
            pass
        except Exception:
            log.exception("front door: a forwarded connection broke")
        finally:
            self._close()
            with self._lock:
                self._over = True
                self._peer = None
                os.close(self._wake)

    def _keep(self, peer: socket.socket) -> None:
        """A socket that the sliver has too may hang in a read: `gone` ends it."""
        with self._lock:
            self._peer = peer
            if self._gone:
                _read_no_more(peer)

    def _serve(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        feeder = threading.Thread(target=self._feed, args=(peer,), name="forward-input", daemon=True)
        feeder.start()
        try:
            outwards({peer.fileno(): self._channel.sendall}, self._wake)
            self._channel.shutdown_write()
        except CHANNEL_LOST:
            pass
        except BaseException:
            self._close()
            raise
        finally:
            feeder.join()

    def _feed(self, peer: socket.socket) -> None:
        try:
            target = Target(peer.fileno(), lambda data: peer.send(data, socket.MSG_DONTWAIT))
            inwards(self._channel, target, self._wake, LINGER)
        except Exception:
            log.exception("front door: the input of a forwarded connection broke")
        finally:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        with contextlib.suppress(*CHANNEL_LOST):
            self._channel.close()


def _read_no_more(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RD)
