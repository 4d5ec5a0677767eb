"""The simulated nodes of one process: how each is put together, found, and made to misbehave."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.types import ASGIApp

from agent.client import FrontDoor
from nodemgr.advertise import Location
from nodemgr.api import at
from nodemgr.images import Images
from nodemgr.node import Node
from nodemgr.settings import SimulationSettings
from nodemgr.slivers.drivers.simulated import SimulatedDriver, simulated_host_key
from nodemgr.storage.store import Store
from rpc import tls
from rpc.credentials import Credentials
from testbed.simulation.calls import recorded
from testbed.simulation.doorway import Doorway
from testbed.simulation.faults import Fault, Kind
from trust.errors import Code, Refusal
from trust.store import TrustStore

API_PORT, SSH_PORT = 2280, 2222
ALL = "all"
MODEL = "sliver"  # a file in the process's folder; each sliver is another name of it


class Row(BaseModel):
    """One node of the file that `DSLICE_SIMULATED_NODES` names."""

    name: str
    address: str
    site: Annotated[str, Field(pattern=r"^[ -~]{1,64}$")] = "simulated"
    token: str | None = Field(default=None, repr=False)
    port: int = API_PORT
    slots: int | None = None


def read_rows(path: Path) -> list[Row]:
    """The nodes that the file lists. Refusal(BAD_INPUT) when it is not such a list."""
    try:
        rows = TypeAdapter(list[Row]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise Refusal(Code.BAD_INPUT, f"{path} is not a list of simulated nodes; see nodemgr/settings.py") from error
    if not rows or len({row.name for row in rows}) != len(rows):
        raise Refusal(Code.BAD_INPUT, f"{path} must list at least one node, and each once")
    return rows


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One node of this process, with its own folder, store, certificate and address."""

    row: Row
    node: Node
    driver: SimulatedDriver
    door: FrontDoor
    doorway: Doorway

    @classmethod
    def build(
        cls, settings: SimulationSettings, row: Row, credentials: Credentials, trust: TrustStore, app: ASGIApp
    ) -> "SimulatedNode":
        """Not yet listening; `app` is the one application of all nodes."""
        folder = settings.state_dir / row.name
        capacity = settings.capacity if row.slots is None else replace(settings.capacity, slots=row.slots)
        driver = SimulatedDriver(folder / "slivers", model=settings.state_dir / MODEL)
        node = Node(
            identity=credentials.identity,
            credentials=credentials,
            trust=trust,
            store=Store(folder / "node.db", credentials.identity, durable=False),
            driver=driver,
            capacity=capacity,
            agents=frozenset(settings.agent_urls),
            grace=settings.grace,
            images=Images(settings.images_folder),
        )
        door = FrontDoor(row.address, SSH_PORT, simulated_host_key(credentials.identity, credentials.root_pem))
        context = tls.server_context(credentials)
        latency, served = settings.simulated_latency_ms / 1000, at(app, node, door)
        if settings.simulated_calls:
            served = recorded(served, node, folder)
        return cls(row, node, driver, door, Doorway(served, row.address, row.port, context, latency=latency))

    @property
    def place(self) -> Location:
        """Where it answers, once it listens."""
        return Location.of(self.row.address, self.doorway.port, self.row.site, self.door)


class Population:
    """All nodes of one process."""

    def __init__(self, nodes: Sequence[SimulatedNode]) -> None:
        self.nodes = nodes
        # Each has its neighbour's certificate at hand, to be caught with.
        for node, neighbour in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            if neighbour is not node:
                node.doorway.wrong = neighbour.doorway.context

    async def misbehave(self, name: str, text: str) -> str:
        """Have the node of that name or address (or all of them) behave so; a line that says it.

        Raises:
            Refusal: NOT_FOUND or BAD_INPUT.
        """
        fault = Fault.parse(text)
        chosen = [found for found in self.nodes if name in (ALL, found.row.name, found.row.address)]
        if not chosen:
            raise Refusal(Code.NOT_FOUND, f"no simulated node here is called {name[:64]!a}; see dslice ps")
        if fault.kind is Kind.WRONG_CERT and len(self.nodes) == 1:
            raise Refusal(Code.BAD_INPUT, "wrong-cert needs a second node, whose certificate to show; simulate more")
        for found in chosen:
            found.driver.latency = fault.seconds if fault.kind is Kind.SLOW_DRIVER else 0
            found.driver.failing = "its driver fails" if fault.kind is Kind.FAILING_DRIVER else None
            found.node.full = fault.kind is Kind.OVER_CAPACITY
            await found.doorway.misbehave(fault)
        return f"{name}: {fault}" if name != ALL else f"{len(chosen)} nodes: {fault}"

    def close(self) -> None:
        """Close the stores."""
        for found in self.nodes:
            found.node.store.close()
