"""Makes a socket inside a sliver, as its user, and hands it to the front door: what `ssh -L`, `-R` and `-A` forward.

The front door copies this one file into every sliver and runs it there with whatever Python the node has. It imports
the standard library only and works since Python 3.8. Descriptor 3 is a socket to the front door, which gets one
message: `ok ADDRESS` with the socket, or `no REASON`. A listening socket is closed, and its file removed, once the
front door closes that descriptor, or dies.

    connect PATH        to a socket file
    path PATH           listen on one, which only the user may open
    agent               the same in a new folder below /tmp
    port ADDRESS PORT   listen on a TCP port
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import sys
import tempfile
from typing import Callable  # noqa: UP035 collections.abc.Callable[…] does not run on 3.8

CONTROL = 3
SECONDS = 10
BACKLOG = 128


def connect(path: str) -> tuple[socket.socket, str]:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(path)
    return made, path


def listen(path: str) -> tuple[socket.socket, str]:
    made = socket.socket(socket.AF_UNIX)
    os.umask(0o177)
    made.bind(path)
    made.listen(BACKLOG)
    return made, path


def agent() -> tuple[socket.socket, str]:
    return listen(os.path.join(tempfile.mkdtemp(prefix="ssh-", dir="/tmp"), f"agent.{os.getpid()}"))


def listen_at(address: str, port: str) -> tuple[socket.socket, str]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, int(port)))
    made.listen(BACKLOG)
    return made, str(made.getsockname()[1])


def forget(path: str, folder: bool) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
        if folder:
            os.rmdir(os.path.dirname(path))


ACTIONS: dict[str, Callable[..., tuple[socket.socket, str]]] = {
    "connect": connect,
    "path": listen,
    "agent": agent,
    "port": listen_at,
}


def main(action: str, *words: str) -> None:
    control = socket.socket(fileno=CONTROL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # ends with the front door's descriptor
    try:
        made, address = ACTIONS[action](*words)
    except OSError as error:
        control.send(f"no {error.strerror or error}".encode())
        return
    try:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))
        control.sendmsg([f"ok {address}".encode()], [rights])
        if action != "connect":
            control.recv(1)
    finally:
        if action in ("path", "agent"):
            forget(address, folder=action == "agent")


if __name__ == "__main__":
    main(*sys.argv[1:])
