from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from agent.client import Promise
from nodemgr.client import LeaseReply, NodeClient
from rpc.aio import Session
from testbed.embedded import Postgres
from tests.integration.agent import askers
from tests.integration.agent.lab import Lab, laboratory, slice_name
from tests.integration.nodemgr.daemons import Daemons
from trust.sshkeys import new_ssh_key_pair

KEY_PAIR = new_ssh_key_pair("slice")

pi, as_pi, as_svm = askers.pi, askers.as_pi, askers.as_svm


@pytest.fixture(scope="package")
def lab(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """plc, an agent and four nodes, shared by this folder's tests."""
    with laboratory(postgres, tmp_path_factory.mktemp("nodemgr"), nodes=4) as made:
        yield made


@dataclass
class Held:
    """A ticket for one node and what came of it."""

    lab: Lab
    slice: str
    slice_id: UUID
    promise: Promise

    def client(self, session: Session, **options: float) -> NodeClient:
        return self.lab.node_client(session, self.promise, **options)

    async def redeem(self, session: Session, delegation: str | None = None) -> LeaseReply:
        return await self.client(session).redeem(self.promise.token, delegation)

    async def run(self, session: Session, delegation: str | None = None) -> LeaseReply:
        lease = await self.redeem(session, delegation)
        await self.client(session).create(self.slice, lease.token, *KEY_PAIR, delegation)
        return lease


Holding = Callable[..., Awaitable[Held]]


@pytest.fixture
async def hold(lab: Lab, as_pi: Session) -> AsyncIterator[Holding]:
    """Gets the PI a ticket, for a node that behaves; afterwards everything is given back."""
    held: list[Held] = []

    async def get(address: str | None = None, leaselen: int = 600) -> Held:
        name = slice_name()
        found = await lab.agent_client(as_pi).tickets(
            slice=name,
            numnodes=1,
            leaselen=leaselen,
            ips=[address] if address else [],
            delegation=None,
            idempotency_key=str(uuid4()),
        )
        held.append(Held(lab, name, found.slice_id, found.promises[0]))
        return held[-1]

    yield get
    for one in held:
        lab.run(lab.population.misbehave(one.promise.node, "ok"))
        await one.client(as_pi).delete(one.slice, one.slice_id, one.promise.jti, None)


@pytest.fixture
def daemons(lab: Lab, postgres: Postgres, tmp_path: Path) -> Iterator[Daemons]:
    database = f"daemons_{uuid4().hex[:12]}"
    postgres.create_database(database)
    yield Daemons(lab, tmp_path, postgres.url("agent", database))
    postgres.drop_database(database)
