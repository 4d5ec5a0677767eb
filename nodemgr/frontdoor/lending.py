"""Sockets of a sliver in the front door's hands: made inside, by a program that runs as the sliver's user.

So the kernel decides what the user may open and listen on, and the node manager follows no path of a sliver. What comes
from there is checked to be the kind of socket that was asked for, and is shared with the sliver: a read may hang
whatever its flags say, and only a shutdown ends it for sure.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nodemgr.slivers.drivers.driver import Session
from nodemgr.slivers.inside.etc import RELAY
from trust.errors import Code, Refusal

SECONDS = 10
END_SECONDS = 2
_MOST = 4096  # bytes of its message
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)

# Starts a command inside whose descriptor 3 is the given one of ours.
Start = Callable[[Sequence[str], int], Session]


@dataclass(frozen=True, slots=True)
class Lent:
    """A listening socket inside, its address there (a path, or a port's number), the program that keeps it there, and
    the socket on whose end that gives it up."""

    sock: socket.socket
    address: str
    keeper: Session
    control: socket.socket

    def give_back(self) -> None:
        """Close it here and inside, and have its file removed."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.control.close()
        _end(self.keeper)


def connected(start: Start, path: str) -> socket.socket:
    """A connection to a socket file of the sliver's. Refusal(NOT_FOUND) with the reason when there is none."""
    lent = _lend(start, ["connect", path], listening=False)
    lent.control.close()
    _end(lent.keeper)
    return lent.sock


def listening(start: Start, *words: str) -> Lent:
    """A listening socket of the sliver's: `path PATH`, `agent`, or `port ADDRESS PORT` (0: any). Refusal with the
    reason when it cannot be had."""
    return _lend(start, words, listening=True)


def _lend(start: Start, words: Sequence[str], *, listening: bool) -> Lent:
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as before, theirs:
            before.callback(ours.close)
            session = start([RELAY, *words], theirs.fileno())
            before.pop_all()
        for descriptor in (session.stdin, session.stdout, session.stderr):
            if descriptor is not None:
                os.close(descriptor)
        stack.callback(_end, session)
        stack.callback(ours.close)
        ours.settimeout(SECONDS)
        try:
            said, descriptors, _flags, _from = socket.recv_fds(ours, _MOST, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise Refusal(Code.TIMEOUT, "the sliver did not answer in time; try again") from error
        word, _, rest = said.decode(errors="replace").partition(" ")
        if word != "ok" or not descriptors:
            raise Refusal(Code.NOT_FOUND, rest or "the sliver has nothing to forward with until it is started anew")
        sock = _checked(descriptors[0], listening)
        stack.pop_all()
    return Lent(sock, rest, session, ours)


def _checked(descriptor: int, listening: bool) -> socket.socket:
    """The socket, if it is a stream that listens, or one that does not."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise Refusal(Code.NOT_ALLOWED, "the sliver gave something that is no socket") from error
    accepts = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if sock.family not in _FAMILIES or sock.type != socket.SOCK_STREAM or accepts != listening:
        sock.close()
        raise Refusal(Code.NOT_ALLOWED, "the sliver gave another kind of socket")
    return sock


def _end(keeper: Session) -> None:
    """Wait for a program that has nothing more to do, for a moment; then end it."""
    poller = select.poll()
    poller.register(keeper.ended, select.POLLIN)
    if not poller.poll(END_SECONDS * 1000):
        keeper.kill()
    keeper.wait()
    os.close(keeper.ended)
