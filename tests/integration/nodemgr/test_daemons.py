"""The processes as `dslice run` starts them: enrolled by token, found through plc, killed and started again."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.client import AdList, AgentClient, Promise
from nodemgr.client import NodeClient, SliverReply
from plc.client import Plc
from rpc.aio import Session
from rpc.credentials import Credentials
from testbed.simulation.control import set_fault
from tests.integration.agent.lab import Lab
from tests.integration.nodemgr.conftest import KEY_PAIR
from tests.integration.nodemgr.daemons import AGENT, Daemons, ask
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@pytest.fixture
async def session(lab: Lab, pi: Credentials) -> AsyncIterator[Session]:
    async with lab.session(pi) as made:
        yield made


async def ads(client: AgentClient) -> list[str]:
    found = await client.ads()
    assert isinstance(found, AdList)
    return [ad.address.rpartition(".")[2] for ad in found.ads]


def node_client(session: Session, promise: Promise) -> NodeClient:
    return NodeClient(session, promise.api, Identity(Role.NODE, promise.node))


async def run_on(session: Session, name: str, promise: Promise) -> str:
    node = node_client(session, promise)
    lease = await node.redeem(promise.token, None)
    assert (await node.create(name, lease.token, *KEY_PAIR, None)).has_vm
    return lease.token


async def test_nodes_are_advertised_once_they_say_that_they_are_ready(daemons: Daemons, session: Session) -> None:
    lab = daemons.lab
    with ExitStack() as stack:
        agent_url = f"https://{stack.enter_context(daemons.agent())}"
        stack.enter_context(daemons.node())
        stack.enter_context(daemons.simulated())
        plc = stack.enter_context(Plc(lab.plc_url, lab.svm_credentials))
        assert agent_url in [entry.url for entry in plc.directory().agents]
        client = AgentClient(session, agent_url, AGENT)
        assert await ads(client) == ["200", "201", "202", "203"]
        name, found = await ask(client, 4)
        assert {promise.node for promise in found.promises} == {"d200", "x201", "x202", "x203"}
        for promise in found.promises:
            await run_on(session, name, promise)
        assert set_fault(daemons.folder / "c.sock", "x201", "refuse") == "x201: refuse"
        (dead,) = [promise for promise in found.promises if promise.node == "x201"]
        with pytest.raises(Refusal) as caught:
            await node_client(session, dead).inventory()
        assert caught.value.code is Code.UNREACHABLE


async def test_leases_and_tickets_outlive_kill_9_of_node_and_agent(daemons: Daemons, session: Session) -> None:
    with ExitStack() as stack:
        address = stack.enter_context(daemons.agent(kill=True))
        client = AgentClient(session, f"https://{address}", AGENT)
        with daemons.node(kill=True):
            name, found = await ask(client, 1)
            short, ending = await ask(client, 1, leaselen=2)
            await run_on(session, name, found.promises[0])
            await run_on(session, short, ending.promises[0])
        stack.close()
        with daemons.agent(address), daemons.node() as again:
            promise = found.promises[0]
            node = NodeClient(session, f"https://{again}", Identity(Role.NODE, promise.node))
            (sliver,) = await _until(node, lambda names: names == [name])
            assert (sliver.state, sliver.generation) == ("running", 1)
            assert (await node.redeem(promise.token, None)).generation == 1
            with pytest.raises(Refusal) as caught:
                await node.redeem(ending.promises[0].token, None)
            assert caught.value.code is Code.TICKET_EXPIRED
            assert await ads(client) == ["200"]


async def _until(node: NodeClient, wanted: Callable[[list[str]], bool]) -> list[SliverReply]:
    found: list[SliverReply] = []
    for _ in range(200):
        found = await node.inventory()
        if wanted([one.slice for one in found]):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"the node never came to that: {found}")


def test_what_is_wrong_with_the_settings_is_said_in_one_line(tmp_path: Path) -> None:
    for module in ("agent.daemon", "nodemgr.daemon", "testbed.simulation"):
        done = subprocess.run(
            [sys.executable, "-c", f"from {module} import main; main()"],
            env={"DSLICE_STATE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert " are not set: " in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
