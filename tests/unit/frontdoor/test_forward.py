"""Where direct-tcpip may go."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from nodemgr.access import Access
from nodemgr.frontdoor.forward import Here, allowed
from trust.sshkeys import parse_public_key

KEY = parse_public_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGYsLNH3nYMT9eqAIHO2ngL3Lw0Nwq1p/2yrKX0LlG6Y")
PEER = ("127.0.1.2", 2222)
HERE = Here("n1", "127.0.1.1")
ACCESS = Access("ocean", uuid.UUID(int=1), (), KEY, datetime(2030, 1, 1, tzinfo=UTC), frozenset({PEER}))


class Owner:
    """A driver whose sliver listens on 127.0.0.1:8080 and 127.0.1.1:9090."""

    def owns_port(self, slice: str, address: str, port: int) -> bool:
        return slice == "ocean" and (address, port) in (("127.0.0.1", 8080), ("127.0.1.1", 9090))


@pytest.mark.parametrize(
    ("destination", "target"),
    [
        (PEER, PEER),
        (("127.0.1.2", 22), None),
        (("127.0.1.3", 2222), None),
        (("127.0.0.1", 8080), ("127.0.0.1", 8080)),
        (("localhost", 8080), ("127.0.0.1", 8080)),
        (("localhost", 8081), None),
        (("n1", 8080), ("127.0.0.1", 8080)),
        (("n1", 9090), ("127.0.1.1", 9090)),
        (("127.0.1.1", 9090), ("127.0.1.1", 9090)),
        (("127.0.1.1", 8080), None),
        (("n2", 8080), None),
        (("127.0.1.2", 9090), None),
        (("::1", 8080), None),
        (("example.org", 8080), None),
        (("127.1", 8080), None),
        (("/run/socket", 0), None),
    ],
)
def test_peers_and_the_own_sliver_only(destination: tuple[str, int], target: tuple[str, int] | None) -> None:
    assert allowed(ACCESS, Owner(), HERE, destination) == target


def test_a_driver_that_cannot_tell_forwards_to_peers_alone() -> None:
    assert allowed(ACCESS, object(), HERE, PEER) == PEER
    assert allowed(ACCESS, object(), HERE, ("127.0.0.1", 8080)) is None
