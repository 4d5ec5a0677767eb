"""The supervisor's control socket: one JSON line asks, one JSON line answers."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from testbed.home import Home, HomeError

SOCKET = "control.sock"
PATIENCE = 2  # seconds that the supervisor waits for a request's line
ANSWER_TIMEOUT = 60  # seconds
MOST = 65_536  # bytes of a request


class Server:
    """The supervisor's end; `fileno` becomes readable when somebody asks."""

    def __init__(self, home: Home) -> None:
        self._path = Path(home.socket(SOCKET))
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self._path))
        self._socket.listen(16)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def accept(self) -> "Request | None":
        """The next request, read whole; None when its asker went away or talks nonsense."""
        try:
            peer, _ = self._socket.accept()
        except OSError:
            return None
        peer.settimeout(PATIENCE)
        try:
            line = peer.makefile("rb").readline(MOST)
            asked = json.loads(line)
            return Request(str(asked["verb"]), str(asked.get("name", "")), peer)
        except (OSError, ValueError, KeyError, TypeError):
            peer.close()
            return None

    def close(self) -> None:
        """Stop listening; the socket's file goes, too."""
        self.leave()
        self._path.unlink(missing_ok=True)

    def leave(self) -> None:
        """What a forked child does: the parent goes on listening."""
        self._socket.close()


class Request:
    """One request that waits for its answer."""

    def __init__(self, verb: str, name: str, peer: socket.socket) -> None:
        self.verb = verb
        self.name = name
        self._peer = peer

    def answer(self, **body: object) -> None:
        """Answer and hang up."""
        with suppress(OSError):
            self._peer.sendall(json.dumps(body).encode() + b"\n")
        self._peer.close()

    def refuse(self, reason: str) -> None:
        """Answer with why not."""
        self.answer(error=reason)


def ask(home: Home, verb: str, name: str = "") -> Mapping[str, Any]:
    """Ask the running supervisor. HomeError with its reason, or when no testbed runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(ANSWER_TIMEOUT)
        try:
            peer.connect(home.socket(SOCKET))
            peer.sendall(json.dumps({"verb": verb, "name": name}).encode() + b"\n")
            line = peer.makefile("rb").readline()
        except OSError as error:
            raise HomeError(f"no testbed runs in {home.directory}: start one with 'dslice up'") from error
    if not line:
        raise HomeError("the testbed went away without an answer")
    found: dict[str, Any] = json.loads(line)
    if "error" in found:
        raise HomeError(found["error"])
    return found
