"""Sockets and descriptors: who closes them, and how many a process may have."""

import resource
import socket
from typing import Any, Self

MANY = 65_536


class Handed(socket.socket):
    """A socket that belongs to the loop: closed by whoever says so, never by being forgotten.

    uvloop (0.23.0) closes the descriptor of a connection that is reset as soon as it stands, and the forgotten socket
    would close it again, when it may be another connection's: calls fail, others' files are closed, libuv aborts.
    """

    @classmethod
    def of(cls, found: tuple[Any, ...]) -> Self:
        """For one address as ``getaddrinfo`` gives it."""
        return cls(*found[:3])

    @classmethod
    def instead(cls, plain: socket.socket) -> Self:
        """The same socket; ``plain`` is one no longer."""
        return cls(plain.family, plain.type, plain.proto, fileno=plain.detach())

    def __del__(self) -> None:
        self.detach()


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as the system lets it, 65,536 at most; how many it may have now.

    The usual soft limit of 1,024 is for programs with select(2); each connection takes one, each session five.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(hard, MANY)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MANY if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
