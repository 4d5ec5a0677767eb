"""Which loopback addresses and ports a testbed takes, so that several live side by side on one machine.

Nodes are 127.0.K.1, 127.0.K.2, …; simulated ones 127.K.x.y with x ≥ 1; services listen on 127.0.0.1. K and every port
are held by abstract unix sockets for as long as the testbed runs: the kernel frees them with the process.
"""

import random
import socket
from collections.abc import Iterable, Iterator

LOOPBACK = "127.0.0.1"
NETWORKS = range(1, 255)
SERVICE_PORTS = range(21000, 31000)  # below the ports that the kernel gives to outgoing connections
FRONT_DOOR_PORT = 2222
NODE_API_PORT = 2280
METRICS_PORT = 2281  # of nodes at their own addresses; of services, upwards from here, at `metrics_address`
MOST_NODES = 250  # real ones; the last octet


class AddressTakenError(Exception):
    """No free network or port; the message says what to do."""


class Claim:
    """Names held on this machine until `release` or the end of the process."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def take(self, name: str) -> bool:
        """Hold a name; False when another process does."""
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.bind(f"\0dslice-{name}")
        except OSError:
            held.close()
            return False
        self._held.append(held)
        return True

    def release(self) -> None:
        """Let all go; also for a forked child, which must not hold its parent's names."""
        while self._held:
            self._held.pop().close()


def claim_network(claim: Claim, wanted: int | None) -> int:
    """Hold a network number K: `wanted` if it is given, else the first free one. AddressTakenError."""
    for number in NETWORKS if wanted is None else (wanted,):
        ports = (FRONT_DOOR_PORT, NODE_API_PORT, METRICS_PORT)
        if all(is_free(node_address(number, 1), port) for port in ports) and claim.take(f"network-{number}"):
            return number
    if wanted is None:
        raise AddressTakenError(
            "every network from 127.0.1.x to 127.0.254.x is in use: end a testbed with 'dslice down'"
        )
    raise AddressTakenError(
        f"127.0.{wanted}.x, where this testbed's nodes are, is taken by another: end that, or start anew with --home"
    )


def claim_port(claim: Claim, wanted: int | None) -> int:
    """Hold a port of 127.0.0.1: `wanted` if that is free, else any. AddressTakenError."""
    for port in _candidates(wanted):
        if is_free(LOOPBACK, port) and claim.take(f"port-{port}"):
            return port
    raise AddressTakenError(f"no free port on {LOOPBACK} between {SERVICE_PORTS.start} and {SERVICE_PORTS.stop}")


def node_address(network: int, number: int) -> str:
    """Address of the real node `number`, counted from 1."""
    return f"127.0.{network}.{number}"


def metrics_address(network: int) -> str:
    """Where the services of this network show their metrics: an address past the last real node."""
    return node_address(network, 254)


def simulated_address(network: int, number: int) -> str:
    """Address of the simulated node `number`, counted from 1: 127.K.1.1 … 127.K.1.250, 127.K.2.1 …"""
    third, fourth = divmod(number - 1, MOST_NODES)
    return f"127.{network}.{third + 1}.{fourth + 1}"


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have just ended do no harm
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


def _candidates(wanted: int | None) -> Iterator[int]:
    if wanted is not None:
        yield wanted
    yield from _shuffled(SERVICE_PORTS)


def _shuffled(ports: Iterable[int]) -> list[int]:
    found = list(ports)
    random.shuffle(found)
    return found
