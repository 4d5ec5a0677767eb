"""Networks and ports: no two testbeds share one."""

import socket

import pytest

from testbed.addresses import (
    NODE_API_PORT,
    AddressTakenError,
    Claim,
    claim_network,
    claim_port,
    is_free,
    node_address,
    simulated_address,
)


def test_two_testbeds_get_different_networks() -> None:
    one, other = Claim(), Claim()
    try:
        assert claim_network(one, None) != claim_network(other, None)
    finally:
        one.release()
        other.release()


def test_a_network_that_another_testbed_holds_is_refused() -> None:
    one, other = Claim(), Claim()
    try:
        taken = claim_network(one, None)
        with pytest.raises(AddressTakenError, match=rf"127\.0\.{taken}\.x, .* is taken by another"):
            claim_network(other, taken)
        one.release()
        assert claim_network(other, taken) == taken
    finally:
        one.release()
        other.release()


def test_a_network_whose_port_somebody_uses_is_passed_over() -> None:
    claim = Claim()
    try:
        first = claim_network(claim, None)
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind((node_address(first, 1), NODE_API_PORT))
            squatter.listen()
            claim.release()  # only now: another testbed might take it in between
            assert claim_network(claim, None) != first
    finally:
        claim.release()


def test_the_wanted_port_is_given_while_it_is_free() -> None:
    one, other = Claim(), Claim()
    try:
        port = claim_port(one, None)
        assert is_free("127.0.0.1", port)
        assert claim_port(other, port) != port
        one.release()
        other.release()
        assert claim_port(other, port) == port
    finally:
        one.release()
        other.release()


def test_addresses_of_nodes() -> None:
    assert [node_address(3, number) for number in (1, 250)] == ["127.0.3.1", "127.0.3.250"]
    assert [simulated_address(3, n) for n in (1, 250, 251, 62_500)] == [
        "127.3.1.1",
        "127.3.1.250",
        "127.3.2.1",
        "127.3.250.250",
    ]
