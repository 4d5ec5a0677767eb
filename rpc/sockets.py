"""Sockets and descriptors: who closes them, how many a process may have, and why an address cannot be listened at."""

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

MANY = 65_536


class CannotListen(OSError):  # noqa: N818 - what it says, not what it is
    """An address that cannot be listened at; ``strerror`` is a line that says why and what to do."""


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


@contextmanager
def binding(host: str, port: int, setting: str) -> Iterator[None]:
    """Around a bind: what can be wrong with an address becomes CannotListen, which names the setting."""
    try:
        yield
    except socket.gaierror as error:
        raise CannotListen(error.errno, f"{host} has no address: correct {setting}") from error
    except OSError as error:
        said = _said(error.errno, host, port, setting)
        if said is None:
            raise
        raise CannotListen(error.errno, said) from error


def _said(number: int | None, host: str, port: int, setting: str) -> str | None:
    if number == errno.EADDRINUSE:
        holder = holder_of(port)
        by = f" by {holder}" if holder else ""
        return f"{host}:{port} is in use{by}: end what has it, or set {setting} to another HOST:PORT"
    if number == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: correct {setting}"
    if number == errno.EACCES:
        return f"port {port} is for root: set {setting} to one above 1023, or give this process CAP_NET_BIND_SERVICE"
    return None


def holder_of(port: int) -> str | None:
    """`NAME (pid N)` of a process that listens at this TCP port, where /proc shows it (proc(5), proc_net_tcp)."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another user's
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return None


def _listening(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen there."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
