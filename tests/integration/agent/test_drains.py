"""Nodes that get no new slivers: the choice leaves them out and says so; and what the operator reads of all nodes."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, update

from agent.drains import heed, replace
from agent.tickets import HEARD_DAYS
from models import agent as tables
from plc.client.orders import Drain, Orders
from rpc.aio import Session
from rpc.blocking import Connection
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab, slice_name
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@pytest.fixture(autouse=True)
def _as_it_was(lab: Lab) -> Iterator[None]:
    yield
    with lab.engine.begin() as connection:
        connection.execute(delete(tables.drain))


def drained(lab: Lab, addresses: list[str], until: datetime | None = None) -> None:
    nodes = [lab.node(address).row.name for address in addresses]
    with lab.engine.begin() as connection:
        replace(connection, {node: Drain(node, "new disk", True, until) for node in nodes})


async def granted(lab: Lab, session: Session, numnodes: int, ips: list[str] | None = None) -> list[str]:
    """Where the tickets are for; they are given back."""
    asked: dict[str, Any] = {"leaselen": 60, "delegation": None, "idempotency_key": str(uuid4())}
    client = lab.agent_client(session)
    found = await client.tickets(slice=slice_name(), numnodes=numnodes, ips=ips or (), **asked)
    for promise in found.promises:
        await client.return_ticket(promise.jti, None)
    await lab.settled_tickets()
    return [promise.address for promise in found.promises]


async def test_the_choice_leaves_drained_nodes_out(lab: Lab, as_pi: Session) -> None:
    first, second, *others = lab.addresses()
    drained(lab, [first, second])
    assert sorted(await granted(lab, as_pi, len(others))) == sorted(others)
    assert await granted(lab, as_pi, 1, [first, others[0]]) == [others[0]]


async def test_a_refusal_names_them(lab: Lab, as_pi: Session) -> None:
    first, second, *others = lab.addresses()
    drained(lab, [first, second])
    with pytest.raises(Refusal) as caught:
        await granted(lab, as_pi, len(others) + 1)
    assert caught.value.code is Code.TOO_FEW_NODES
    assert caught.value.detail["drained"] == 2
    assert f"; drained: {first} (new disk), {second} (new disk)" in caught.value.reason
    with pytest.raises(Refusal) as caught:
        await granted(lab, as_pi, 2, [first, others[0]])
    assert second not in caught.value.reason
    with pytest.raises(Refusal) as caught:
        await granted(lab, as_pi, 2, [others[0], "10.0.0.1"])
    assert "drained" not in caught.value.reason


async def test_a_drain_ends_by_itself(lab: Lab, as_pi: Session) -> None:
    first = lab.addresses()[0]
    drained(lab, [first], datetime.now(UTC) - timedelta(seconds=1))
    assert await granted(lab, as_pi, 1, [first]) == [first]


async def test_many_are_counted(lab: Lab, as_pi: Session) -> None:
    every = lab.addresses()
    drained(lab, every)
    with pytest.raises(Refusal) as caught:
        await granted(lab, as_pi, 1)
    assert f"and {len(every) - 2} more" in caught.value.reason


def test_what_plc_says_is_stored_once(lab: Lab) -> None:
    said = [Orders("one", {"s1": Drain("s1", "x", True, None)}, ()), None, Orders("two", {}, ())]
    asked: list[str | None] = []

    def ask(tag: str | None) -> Orders | None:
        asked.append(tag)
        return said[len(asked) - 1]

    look = heed(ask, lab.engine)
    for there in (1, 1, 0):
        look()
        with lab.engine.connect() as connection:
            assert len(connection.execute(tables.drain.select()).all()) == there
    assert asked == [None, "one", "one"]


def nodes_of(lab: Lab, credentials: Credentials) -> list[dict[str, Any]]:
    url = vars(lab)["agent_url"]
    with Connection(url, credentials=credentials, expect=lab.identity) as connection:
        return list(connection.call("GET", "/nodes").body["nodes"])


Caller = Callable[[Lab], Credentials]
OTHERS: dict[str, Caller] = {
    "pi": lambda lab: lab.user(),
    "user": lambda lab: lab.user(pi=False),
    "svm": lambda lab: lab.svm_credentials,
    "agent": lambda lab: lab.agent_credentials,
    "node": lambda lab: lab.population.nodes[0].node.credentials,
}


@pytest.mark.parametrize("who", OTHERS)
def test_nobody_else_reads_of_all_nodes(lab: Lab, who: str) -> None:
    lab.publish()
    with pytest.raises(Refusal) as caught:
        nodes_of(lab, OTHERS[who](lab))
    assert caught.value.code is Code.NOT_ALLOWED


def test_the_operator_reads_of_silent_nodes_too(lab: Lab) -> None:
    lab.publish()
    admin = lab.user(admin=True)
    end = datetime.now(UTC) - timedelta(days=HEARD_DAYS - 1)
    stored: dict[str, Any] = {"node": "gone", "address": "10.9.9.9", "expires_at": end, "simulated": True}
    stored |= dict.fromkeys(("api", "site", "host_key", "version", "driver"), "x")
    stored |= dict.fromkeys(("slots", "slots_free", "memory_free_mb", "slivers", "max_leaselen", "frontdoor_port"), 1)
    with lab.engine.begin() as connection:
        connection.execute(tables.ad.insert().values(stored))
    try:
        for credentials in (admin, lab.credentials(Identity(Role.PLC, "plc"))):
            found = {one["node"]: one for one in nodes_of(lab, credentials)}
            assert found["gone"]["up"] is False
            assert found["gone"]["heard_at"] == (end - timedelta(seconds=60)).isoformat()
            one = found["s1"]
            assert (one["up"], one["driver"], one["site"]) == (True, "simulated", "Berkeley")
            assert (one["slots"], one["slivers"], one["version"]) == (4, 0, "1.0.0")
        lab.agent.purge()
        assert "gone" in {one["node"] for one in nodes_of(lab, admin)}
    finally:
        with lab.engine.begin() as connection:
            late = update(tables.ad).where(tables.ad.c.node == "gone").values(expires_at=end - timedelta(days=2))
            connection.execute(late)
    lab.agent.purge()
    assert "gone" not in {one["node"] for one in nodes_of(lab, admin)}
