"""Simulated nodes misbehave as told, on new connections and on those that stand, and behave again when told."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rpc.aio import Session
from testbed.simulation.control import serve_control, set_fault
from tests.integration.agent.lab import Lab
from tests.integration.nodemgr.conftest import KEY_PAIR, Held, Holding
from trust.errors import Code, Refusal


@pytest.fixture
async def held(hold: Holding) -> Held:
    return await hold()


def misbehave(held: Held, fault: str) -> str:
    return held.lab.run(held.lab.population.misbehave(held.promise.node, fault))


async def redeemed(held: Held, session: Session, **options: float) -> Code | int:
    """The generation of the lease, or how the call failed."""
    try:
        return (await held.client(session, **options).redeem(held.promise.token, None)).generation
    except Refusal as refusal:
        return refusal.code


def in_store(held: Held) -> bool:
    return held.lab.node(held.promise.address).node.store.lease(held.slice) is not None


@pytest.mark.parametrize("warm", [False, True], ids=["new", "kept-alive"])
@pytest.mark.parametrize(
    ("fault", "code", "acts"),
    [
        ("refuse", Code.UNREACHABLE, False),
        ("blackhole", Code.TIMEOUT, False),
        ("reset", Code.UNREACHABLE, False),
        ("wrong-cert", Code.WRONG_CERTIFICATE, False),
        ("over-capacity", Code.OVER_CAPACITY, False),
        ("slow=30", Code.TIMEOUT, False),
        ("lose-answer", Code.UNREACHABLE, True),
        ("half-answer", Code.UNREACHABLE, True),
        ("drip=1", Code.TIMEOUT, True),
    ],
)
async def test_each_fault_and_the_end_of_it(
    held: Held, as_pi: Session, fault: str, code: Code, acts: bool, warm: bool
) -> None:
    if warm:
        await held.client(as_pi).inventory()
    assert misbehave(held, fault) == f"{held.promise.node}: {fault}"
    # Short only where the deadline is what ends the call: a busy machine is slow to do anything else.
    seconds = 30.0 if code is not Code.TIMEOUT else 2.5 if acts else 0.5
    assert await redeemed(held, as_pi, connect_timeout=seconds, deadline=seconds) is code
    assert in_store(held) == acts
    misbehave(held, "ok")
    assert await redeemed(held, as_pi) == 1
    # Only once, whatever was lost on the way.
    assert held.lab.node(held.promise.address).node.store.taken() == 1


async def test_a_slow_node_answers_in_the_end(held: Held, as_pi: Session) -> None:
    misbehave(held, "slow=0.3")
    started = asyncio.get_running_loop().time()
    assert await redeemed(held, as_pi) == 1
    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_a_reset_is_one(held: Held) -> None:
    misbehave(held, "reset")
    place = held.promise.address, held.lab.node(held.promise.address).doorway.port
    with pytest.raises(ConnectionResetError):
        _listen_to(place)


async def test_a_full_node_still_serves_whom_it_has(held: Held, hold: Holding, as_pi: Session) -> None:
    lease = await held.redeem(as_pi)
    misbehave(held, "over-capacity")
    assert (await held.client(as_pi).create(held.slice, lease.token, *KEY_PAIR, None)).has_vm
    other = await hold(held.promise.address)
    assert await redeemed(other, as_pi) is Code.OVER_CAPACITY


async def test_nodes_are_named_by_name_address_or_all(lab: Lab, hold: Holding) -> None:
    address = lab.addresses()[0]
    assert lab.run(lab.population.misbehave(address, "refuse")) == f"{address}: refuse"
    assert lab.run(lab.population.misbehave("all", "ok")) == "4 nodes: ok"
    for name, fault, code in [("s99", "ok", Code.NOT_FOUND), ("s1", "explode", Code.BAD_INPUT)]:
        with pytest.raises(Refusal) as caught:
            lab.run(lab.population.misbehave(name, fault))
        assert caught.value.code is code


@contextmanager
def control(lab: Lab, path: Path) -> Iterator[Path]:
    server = lab.run(serve_control(str(path), lab.population.misbehave))
    try:
        yield path
    finally:
        lab.loop.call_soon_threadsafe(server.close)


def test_the_control_socket(lab: Lab, tmp_path: Path) -> None:
    with control(lab, tmp_path / "c.sock") as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert set_fault(path, "s1", "slow=1") == "s1: slow=1"
        assert set_fault(str(path), "all", "ok") == "4 nodes: ok"
        for node, fault, code in [("s99", "ok", Code.NOT_FOUND), ("s1", "x", Code.BAD_INPUT)]:
            with pytest.raises(Refusal) as caught:
                set_fault(path, node, fault)
            assert caught.value.code is code
        for nonsense in (b"{}\n", b"nonsense\n", b"[]\n", b"x" * 9000 + b"\n"):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(path))
                peer.sendall(nonsense)
                assert json.loads(peer.makefile("rb").readline())["code"] == "bad-input"
    with pytest.raises(Refusal) as caught:
        set_fault(tmp_path / "nobody.sock", "s1", "ok")
    assert caught.value.code is Code.UNREACHABLE


def _listen_to(place: tuple[str, int]) -> bytes:
    with socket.create_connection(place, 5) as peer:
        return peer.recv(1)
