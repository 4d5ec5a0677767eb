"""A socket inside on which a client listens (`ssh -R`, `ssh -A`): each connection to it becomes a channel."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Callable

from nodemgr.frontdoor.lending import Lent

log = logging.getLogger(__name__)


class Listener:
    """Accepts on a thread of its own until it is closed, or the program that holds the socket inside has ended.

    Args:
        lent: the socket; given back here.
        arrived: takes each connection, and closes it unless it raises something. Called on a thread of its own, for it
            asks the client.
    """

    def __init__(self, lent: Lent, arrived: Callable[[socket.socket], None]) -> None:
        self.address = lent.address
        self._lent = lent
        self._arrived = arrived
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._over = False
        try:
            threading.Thread(target=self._run, name="forward-listener", daemon=True).start()
        except BaseException:
            os.close(self._wake)
            raise

    def close(self) -> None:
        """End it, from any thread, without waiting."""
        with self._lock:
            if not self._over:
                os.eventfd_write(self._wake, 1)
                with contextlib.suppress(OSError):  # ends an accept that hangs, too
                    self._lent.sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            self._accept()
        except Exception:
            log.exception("front door: a listener inside broke")
        finally:
            with self._lock:
                self._over = True
                os.close(self._wake)
            self._lent.give_back()

    def _accept(self) -> None:
        self._lent.sock.settimeout(None)
        poller = select.poll()
        for descriptor in (self._lent.sock.fileno(), self._lent.keeper.ended, self._wake):
            poller.register(descriptor, select.POLLIN)
        while [descriptor for descriptor, _event in poller.poll()] == [self._lent.sock.fileno()]:
            try:
                arrived, _address = self._lent.sock.accept()
            except OSError:
                return
            self._hand_on(arrived)

    def _hand_on(self, arrived: socket.socket) -> None:
        try:
            threading.Thread(target=self._take, args=(arrived,), name="forward-open", daemon=True).start()
        except RuntimeError:  # no thread to be had
            arrived.close()

    def _take(self, arrived: socket.socket) -> None:
        try:
            self._arrived(arrived)
        except OSError:  # it is gone already
            arrived.close()
        except Exception:
            log.exception("front door: a connection to a listener inside could not be forwarded")
            arrived.close()
