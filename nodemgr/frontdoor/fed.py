"""Channels whose bytes are written on by the thread that reads the connection, as long as that needs no waiting.

To hand them to another thread costs a small request nearly a third of its CPU (docs/adr/0058). Two threads write in
turns: the reader while all that it ever handed over is written, else the one that serves the channel's input, which may
wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import paramiko
from paramiko.message import Message


@dataclass(frozen=True, slots=True)
class Target:
    """Where bytes go; `write` never blocks, and says how many it took."""

    descriptor: int
    write: Callable[[memoryview], int]

    @classmethod
    def pipe(cls, descriptor: int) -> Self:
        """A descriptor that is non-blocking."""
        return cls(descriptor, lambda data: os.write(descriptor, data))


class FedChannel(paramiko.Channel):
    """A channel that knows where the client's bytes go, and takes no more of them than its window lets in."""

    lock: Any
    in_window_size: int
    in_window_sofar: int
    in_window_threshold: int

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._target: Target | None = None
        self._handed_over = 0
        self._written = 0

    def feeds(self, target: Target | None) -> None:
        """Write there from now on; None: nowhere any more, whereupon the last one's descriptor may be closed."""
        with self.lock:
            self._target = target

    def written(self, count: int) -> None:
        """So many bytes that `recv` gave are dealt with."""
        self._written += count

    def _feed(self, m: Message | bytes) -> None:
        self._require_room()
        data = m if isinstance(m, bytes) else m.get_binary()
        rest = data[self._write(data) :]
        if rest:
            self._handed_over += len(rest)
            self.in_buffer.feed(rest)

    def _feed_extended(self, m: Message) -> None:
        self._require_room()
        super()._feed_extended(m)  # type: ignore[misc]

    def _require_room(self) -> None:
        """A client that sends beyond its window loses its connection."""
        if len(self.in_buffer) + len(self.in_stderr_buffer) > self.in_window_size:
            raise paramiko.SSHException("client ignores the window")

    def _write(self, data: bytes) -> int:
        """How many bytes the target took at once. None of those with which the window is to be opened again: to say so
        may have to wait until the client reads, and it may wait until it has been read from."""
        with self.lock:
            ended = self.closed or self.eof_received
            if self._target is None or ended or self._handed_over != self._written:
                return 0
            if self.in_window_sofar + len(data) > self.in_window_threshold:
                return 0
            try:
                taken = self._target.write(memoryview(data))
            except OSError:  # full, or nobody reads: the other thread will see
                return 0
            self.in_window_sofar += taken
            return taken
