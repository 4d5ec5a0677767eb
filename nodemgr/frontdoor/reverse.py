"""What one client has asked to listen on inside its sliver, and the channels that it is offered from there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence

from nodemgr.frontdoor.fed import FedChannel
from nodemgr.frontdoor.forward import Forward
from nodemgr.frontdoor.lending import Start, listening
from nodemgr.frontdoor.listener import Listener

LOOPBACK = {"": "127.0.0.1", "localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}

# Opens a channel of a kind to the client; None when it may not be, or the client does not want it.
Offer = Callable[[str, Sequence[str | int]], FedChannel | None]
Adopt = Callable[[FedChannel, Forward], None]


class Reverse:
    """The listeners of one connection.

    Args:
        start: starts what makes sockets inside.
        offer: as above.
        adopt: remembers a forwarded connection by its channel, until that is gone.
    """

    def __init__(self, start: Start, offer: Offer, adopt: Adopt) -> None:
        self._start = start
        self._offer = offer
        self._adopt = adopt
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._agents: set[Listener] = set()
        self._opening = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Listeners, and connections that the client has not accepted yet."""
        return len(self._listeners) + len(self._agents) + self._opening

    def listen_at(self, host: str, port: int) -> int:
        """Listen on a port of the sliver's own loopback (0: any), and return it. Refusal with the reason."""
        lent = listening(self._start, "port", LOOPBACK[host], str(port))
        taken = int(lent.address)

        def arrived(peer: socket.socket) -> None:
            origin = peer.getpeername()
            self._deliver(peer, "forwarded-tcpip", [host, taken, origin[0], origin[1]])

        self._listeners[host, taken] = Listener(lent, arrived)
        return taken

    def listen_on(self, path: str) -> None:
        """Listen on a socket file of the sliver's. Refusal with the reason."""
        lent = listening(self._start, "path", path)
        kind = "forwarded-streamlocal@openssh.com"
        self._listeners[path, 0] = Listener(lent, lambda peer: self._deliver(peer, kind, [path, ""]))

    def agent(self) -> Listener:
        """A way inside to the agent of the client's user; who asked closes it with `end`. Refusal with the reason."""
        kind = "auth-agent@openssh.com"
        made = Listener(listening(self._start, "agent"), lambda peer: self._deliver(peer, kind, []))
        self._agents.add(made)
        return made

    def end(self, agent: Listener) -> None:
        self._agents.discard(agent)
        agent.close()

    def cancel(self, host: str, port: int) -> bool:
        """Stop listening there; False when nobody did."""
        found = self._listeners.pop((host, port), None)
        if found is not None:
            found.close()
        return found is not None

    def close(self) -> None:
        for place in list(self._listeners):
            self.cancel(*place)
        for agent in list(self._agents):
            self.end(agent)

    def _deliver(self, peer: socket.socket, kind: str, details: Sequence[str | int]) -> None:
        with self._lock:
            self._opening += 1
        try:
            channel = self._offer(kind, details)
            if channel is None:
                peer.close()
            else:
                self._adopt(channel, Forward(channel, lambda: peer))
        finally:
            with self._lock:
                self._opening -= 1
