"""Whose a listening TCP port is, where slivers share the host's network.

A user may forward to the ports that the own sliver listens on, and to no other of this machine. The kernel's table
names each listener's socket by inode; the sliver's processes name theirs the same way.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
_PIDFD_GETFD = 438  # the same on every machine; the C library has no wrapper for it


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket of this machine."""

    address: str
    port: int
    inode: int


def parse(table: str) -> list[Listener]:
    """The listeners in the text of /proc/net/tcp or tcp6 (proc(5)): addresses are 32-bit words in the host's order."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN:
            words, port = fields[1].split(":")
            packed = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
            found.append(Listener(str(ipaddress.ip_address(packed)), int(port, 16), int(fields[9])))
    return found


def listeners() -> list[Listener]:
    """Everybody's listening sockets in this network namespace."""
    found = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            found += parse(Path("/proc/net", name).read_text(encoding="ascii"))
    return found


def sockets(pids: Iterable[int]) -> set[int]:
    """Inodes of the sockets that these processes hold."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{name}")
                    if target.startswith("socket:["):
                        inodes.add(int(target[8:-1]))
    return inodes


def answers(table: Iterable[Listener], inodes: Collection[int], address: str, port: int) -> bool:
    """Whether a connection to `address` (a loopback address) and `port` reaches a socket with one of `inodes`.

    As the kernel chooses: a socket bound to the very address before one bound to all, IPv4 before IPv6. Where several
    share that place (SO_REUSEPORT) all must be among the inodes.
    """
    wildcards = ("::",) if ":" in address else ("0.0.0.0", "::")  # noqa: S104 compared, not bound
    for bound in (address, *wildcards):
        there = [listener.inode for listener in table if (listener.address, listener.port) == (bound, port)]
        if there:
            return all(inode in inodes for inode in there)
    return False


def holds(pid: int, port: int) -> bool:
    """Whether a process has a TCP socket that is bound to `port`, at any address, listening or not.

    The kernel's table does not name a socket that is only bound, which keeps the port all the same: so each socket is
    asked itself, through a descriptor of our own (pidfd_getfd(2)).
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            names = os.listdir(f"/proc/{pid}/fd")
            return any(_is_socket(pid, name) and _bound_to(handle, int(name)) == port for name in names)
        return False
    finally:
        os.close(handle)


def _is_socket(pid: int, name: str) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:[")
    return False


def _bound_to(process: int, descriptor: int) -> int | None:
    """The local TCP port of another process's socket; None for what is none, or gone."""
    copy = ctypes.CDLL(None).syscall(_PIDFD_GETFD, process, descriptor, 0)
    if copy < 0:
        return None
    with socket.socket(fileno=copy) as found:
        if found.family in (socket.AF_INET, socket.AF_INET6) and found.type & 0xF == socket.SOCK_STREAM:
            return int(found.getsockname()[1])
    return None
