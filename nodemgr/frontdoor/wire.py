"""A connection's socket, with few system calls: a packet is read in pieces of some bytes, and each was two calls."""

from __future__ import annotations

import socket
import struct
from typing import cast

AHEAD = 64 << 10  # bytes that are read at once


class Wire:
    """What paramiko has for its socket. The kernel counts the time that a call may wait, so that no poll(2) stands
    before each.

    Args:
        taken: connected; whoever has it too may shut it down, which ends every call here.
    """

    def __init__(self, taken: socket.socket) -> None:
        self._socket = taken
        self._held = b""
        self._at = 0

    def settimeout(self, seconds: float) -> None:
        """How long a call may wait."""
        self._socket.settimeout(None)
        time = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, time)

    def recv(self, count: int) -> bytes:
        """At most so many bytes; none at the end. TimeoutError, OSError."""
        if self._at == len(self._held):
            try:
                self._held, self._at = self._socket.recv(AHEAD), 0
            except BlockingIOError as error:
                raise TimeoutError from error
        part = self._held[self._at : self._at + count]
        self._at += len(part)
        return part

    def send(self, data: bytes) -> int:
        """How many of the bytes were taken. TimeoutError, OSError."""
        try:
            return self._socket.send(data)
        except BlockingIOError as error:
            raise TimeoutError from error

    def acknowledge(self) -> None:
        """Acknowledge at once what has come (tcp(7), TCP_QUICKACK). OSError."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def getpeername(self) -> tuple[str, int]:
        return cast("tuple[str, int]", self._socket.getpeername())

    def close(self) -> None:
        self._socket.close()
