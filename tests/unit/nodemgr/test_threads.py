"""A call takes no thread: a node's answers come from memory and its own disk, in place."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.client import FrontDoor
from nodemgr.api import at, create_app
from tests.unit.nodemgr.world import SLICE, SVM, World
from tests.unit.rpc.asgi import ask
from tests.unit.trust.factories import certificate_of


async def test_no_call_goes_through_a_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: Any, **__: Any) -> None:
        raise AssertionError("a thread was taken")

    await world.running()
    monkeypatch.setattr("anyio.to_thread.run_sync", taken)
    app = at(create_app(world.trust), world.node, FrontDoor("127.0.1.1", 22, "key"))
    peer = certificate_of(SVM).public_bytes(Encoding.DER)
    headers = {"Dslice-Delegation": world.delegation(slice=SLICE)}
    answer = await ask(app, "GET", f"/slivers/{SLICE}", peer=peer, headers=headers)
    assert (answer.status, answer.body["state"]) == (200, "running")
