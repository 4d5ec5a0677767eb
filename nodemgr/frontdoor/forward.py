"""direct-tcpip: a client's connection through this node, to another node's front door or into the own sliver."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from typing import Protocol, runtime_checkable

import paramiko

from nodemgr.access import Access
from nodemgr.frontdoor.pump import CHANNEL_LOST, inwards, outwards

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10

# What a user may call the node that the sliver is on; `localhost` is dialled as the first.
_LOOPBACK = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}


@runtime_checkable
class PortOwner(Protocol):
    """A driver that can tell its slivers' ports from the host's."""

    def owns_port(self, slice: str, address: str, port: int) -> bool: ...


def allowed(access: Access, driver: object, destination: tuple[str, int]) -> tuple[str, int] | None:
    """Where to connect for a client that wants `destination`: a peer's front door, or a port on which the sliver
    itself listens. None: nowhere."""
    if destination in access.peers:
        return destination
    host, port = destination
    address = _LOOPBACK.get(host)
    if address is None or not isinstance(driver, PortOwner) or not driver.owns_port(access.slice, address, port):
        return None
    return address, port


class Forward:
    """One forwarded connection; connecting happens here, so that a dead peer holds up no other channel."""

    def __init__(self, channel: paramiko.Channel, destination: tuple[str, int]) -> None:
        self._channel = channel
        self._destination = destination
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
            if not self._over:
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            with socket.create_connection(self._destination, timeout=CONNECT_SECONDS) as peer:
                self._serve(peer)
        except OSError:
            pass
        except Exception:
            log.exception("front door: a forwarded connection broke")
        finally:
            self._close()
            with self._lock:
                self._over = True
                os.close(self._wake)

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
            inwards(self._channel, peer.fileno(), self._wake)
        except Exception:
            log.exception("front door: the input of a forwarded connection broke")
        finally:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        with contextlib.suppress(*CHANNEL_LOST):
            self._channel.close()
