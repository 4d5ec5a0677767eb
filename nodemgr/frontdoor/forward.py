"""direct-tcpip: a client's connection through this node to another node's front door."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import paramiko

from nodemgr.frontdoor.pump import ChannelGoneError, inwards, outwards

CONNECT_SECONDS = 10


class Forward:
    """One forwarded connection; connecting happens here, so that a dead peer holds up no other channel."""

    def __init__(self, channel: paramiko.Channel, destination: tuple[str, int]) -> None:
        self._channel = channel
        self._destination = destination
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._over = False
        threading.Thread(target=self._run, name="forward", daemon=True).start()

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
        finally:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                self._channel.close()
            with self._lock:
                self._over = True
                os.close(self._wake)

    def _serve(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        feeder = threading.Thread(target=self._feed, args=(peer,), name="forward-input", daemon=True)
        feeder.start()
        with contextlib.suppress(ChannelGoneError):
            outwards({peer.fileno(): self._channel.sendall}, self._wake)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()
        feeder.join()

    def _feed(self, peer: socket.socket) -> None:
        inwards(self._channel, peer.fileno(), self._wake)
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
