"""The nodes and the agent: the real ones, each of which can die at any of its writes and start again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine

from agent.client import FrontDoor
from nodemgr.admission import Capacity
from nodemgr.advertise import Location, advertisement
from nodemgr.expiry import Expiry, recover
from nodemgr.node import Node
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from rpc.credentials import Credentials
from tests.unit.nodemgr.test_machine import Crash, Fuse, FusedDriver, FusedStore
from tests.unit.trust.factories import AGENT, authority, certificate_of, key_of
from trust.certificates import certificate_to_pem, key_to_pem
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair
from trust.store import TrustStore

GRACE = 60
CAPACITY = Capacity(slots=2, memory_mb=1_000, sliver_mb=100, processes=10)
HOST_KEY = new_ssh_key_pair("host")[1]


def credentials(folder: Path, identity: Identity) -> Credentials:
    """Files of a service's own."""
    made = Credentials(folder)
    made.save(
        key_pem=key_to_pem(key_of(identity.role)),
        certificate_pem=certificate_to_pem(certificate_of(identity)),
        ca_pem=certificate_to_pem(authority().certificate),
    )
    return made


@dataclass
class Site:
    """One node: its process may be gone (`alive` false), its store and slivers stay."""

    number: int
    folder: Path
    trust: TrustStore
    fuse: Fuse = field(default_factory=Fuse)
    alive: bool = True

    def __post_init__(self) -> None:
        self.identity = Identity(Role.NODE, f"n{self.number}")
        self.address = f"127.0.1.{self.number}"
        door = FrontDoor(self.address, 22, HOST_KEY)
        self.place = Location(self.address, f"https://{self.address}:1", f"site{self.number % 2}", door)
        self.credentials = credentials(self.folder, self.identity)
        self.driver = SimulatedDriver(self.folder / "slivers")
        self._open()

    def _open(self) -> None:
        self.store = FusedStore(self.folder / "node.db", self.identity)
        self.store._file.connection.execute("PRAGMA synchronous = OFF")  # the test's process does not die
        self.store.fuse = self.fuse
        self.node = Node(
            identity=self.identity,
            credentials=self.credentials,
            trust=self.trust,
            store=self.store,
            driver=FusedDriver(self.driver, self.fuse),
            capacity=CAPACITY,
            agents=frozenset([AGENT]),
            grace=GRACE,
        )

    async def restart(self) -> None:
        """As after kill -9: nothing is known but what is on disk."""
        self.fuse.left, self.alive = None, True
        self.store.close()
        self._open()
        await recover(self.node)

    async def tick(self) -> None:
        """What the node does by itself."""
        if not self.alive:
            return
        try:
            await Expiry(self.node).tick()
        except Crash:
            await self.restart()

    def advertised(self) -> tuple[Any, list[str]]:
        """For the agent: (advertisement, burnt tickets)."""
        return advertisement(self.node, self.place), self.store.recently_burnt(AGENT, self.node.now(), 100)

    def slivers(self) -> dict[str, list[UUID]]:
        """What is there, by the driver's own files."""
        found: dict[str, list[UUID]] = {}
        for path in self.driver.directory.iterdir():
            name, _, slice_id = path.name.partition("@")
            found.setdefault(name, []).append(UUID(slice_id))
        return found


class FusedEngine:
    """An engine whose user may die right before or right after any commit; the dead reach it no more."""

    def __init__(self, engine: Engine, fuse: Fuse) -> None:
        self.engine, self.fuse, self.dead = engine, fuse, False

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        if self.dead:
            raise Crash
        with self.engine.begin() as connection:
            yield connection
            self._step()
        self._step()

    def connect(self) -> Any:
        return self.engine.connect()

    def _step(self) -> None:
        try:
            self.fuse.step()
        except Crash:
            self.dead = True
            raise


@dataclass
class Names:
    """plc's register of names (implements `agent.issuing.Registrar`): one owner for each, held ones for him alone."""

    trust: TrustStore
    taken: dict[str, tuple[Identity, UUID]] = field(default_factory=dict)
    held: dict[str, tuple[Identity, datetime]] = field(default_factory=dict)

    def register_slice(self, name: str, owner: Identity, delegation: str) -> UUID:
        del delegation
        holder = self.taken.get(name)
        if holder and holder[0] == owner:
            return holder[1]
        before = self.held.get(name)
        if holder or (before and before[0] != owner and before[1] > self.trust.clock.now()):
            raise Refusal(Code.NAME_TAKEN, f"the slice name {name} is taken; choose another")
        self.taken[name] = (owner, uuid4())
        return self.taken[name][1]

    def release_slice(self, name: str, slice_id: UUID, held_until: datetime | None = None) -> None:
        if name in self.taken and self.taken[name][1] == slice_id:
            owner, _ = self.taken.pop(name)
            self.held[name] = (owner, held_until or self.trust.clock.now() - timedelta(seconds=1))
