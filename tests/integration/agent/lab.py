"""A small PlanetLab for these tests: a real plc as a process, an agent and simulated nodes in a thread; real TLS.

plc's CA key is at hand, so that any certificate can be had: expired, revoked, of another CA. Agent and nodes share one
view of revocations, which tests change at once instead of waiting for plc's next list.
"""

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import select, update

from agent.api import create_app
from agent.client import Ad, AgentClient
from agent.issuing import Agent
from agent.places import Bounds
from models import agent as tables
from models.database import engine, migrate
from nodemgr import api as node_api
from nodemgr.agents import Agents
from nodemgr.client import NodeClient
from nodemgr.expiry import recover
from nodemgr.periodic import look_after
from nodemgr.settings import SimulationSettings
from plc.bootstrap import Bootstrap, Person
from plc.client import Plc
from plc.settings import Settings
from rpc import tls
from rpc.aio import Session
from rpc.background import Tasks
from rpc.credentials import Credentials
from rpc.server import Listener, serve
from testbed.embedded import Postgres
from testbed.simulation.population import Population, Row, SimulatedNode
from tests.integration.passwords import CHEAP
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.clock import SystemClock
from trust.documents import Delegation, DelegationKind, sign_delegation
from trust.identity import Identity, Role
from trust.keys import PrivateKey
from trust.store import TrustStore

HOST = "127.0.0.1"
AGENT = Identity(Role.AGENT, "agent")
SVM = Identity(Role.SVM, "svm")
SITES = ("Princeton", "Berkeley")
SLOTS = 4
Result = TypeVar("Result")
_numbers = count(1)


@contextmanager
def daemon(
    module: str, environment: dict[str, str], log: Path, prefix: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A daemon's process and the address it said it answers at; ended with SIGTERM, which must work.

    Args:
        prefix: of its command line, for one that is to run in other namespaces.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DSLICE_")}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", f"from {module} import main; main()"],
            env={**clean, **environment},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline().split()
        assert line[:1] == ["ready"], log.read_text()
        yield process, line[1]
        if process.poll() is None:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Lab:
    """See the module. `run` does work in the loop of agent and nodes."""

    folder: Path
    plc_url: str
    bootstrap: Bootstrap
    database_url: str
    identity: Identity = AGENT
    network: str = field(default_factory=lambda: f"127.{random.randint(64, 220)}.{random.randint(1, 250)}")  # noqa: S311
    stop: Callable[[], object] = lambda: None
    ready: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.authority: Authority = self.bootstrap.central.authority
        self.trust = TrustStore(self.authority.certificate, SystemClock())
        self.revoked: list[int] = []
        self.list_number = 1000
        self.publish()
        self.agent_credentials = self.credentials(self.identity)
        self.svm_credentials = self.credentials(SVM)
        self.engine = engine(self.database_url)
        self.agent = Agent(
            identity=self.identity,
            credentials=self.agent_credentials,
            store=self.trust,
            engine=self.engine,
            registrar=Plc(self.plc_url, self.agent_credentials),
            bounds=Bounds(tickets=200, share=50),
        )

    # Certificates and documents

    def credentials(
        self,
        identity: Identity,
        *,
        pi: bool = True,
        admin: bool = False,
        start: int = -60,
        lifetime: int = 3600,
        authority: Authority | None = None,
        addresses: Sequence[str] = (HOST,),
    ) -> Credentials:
        """Valid from `start` seconds from now on; of plc's CA, or of another that is taken for it."""
        user = identity.role is Role.USER
        key = user_key() if user else new_private_key(identity.role)
        certificate = (authority or self.authority).issue(
            identity,
            key.public_key(),
            now=datetime.now(UTC) + timedelta(seconds=start),
            lifetime=lifetime,
            addresses=() if user else addresses,
            pi=pi and user,
            admin=admin,
        )
        made = Credentials(self.folder / "credentials" / f"{next(_numbers)}")
        root = certificate_to_pem(self.authority.certificate)
        made.save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(certificate), ca_pem=root)
        return made

    def user(self, *, pi: bool = True, **options: Any) -> Credentials:
        """A new account at plc (always a PI's there), with a certificate that may say otherwise."""
        email = f"user{next(_numbers)}@example.org"
        self.bootstrap.accounts([Person(email, "correct horse battery", "User", SITES[0], is_pi=True)])
        return self.credentials(Identity.user(email), pi=pi, **options)

    def delegation(self, owner: Credentials, slice: str, svm: Identity = SVM, **changes: Any) -> str:
        """The owner's working delegation, or as `changes` say."""
        now = datetime.now(UTC).replace(microsecond=0)
        values: dict[str, Any] = {
            "issuer": owner.identity,
            "svm": svm,
            "slice": slice,
            "kind": DelegationKind.WORKING,
            "jti": str(uuid4()),
            "issued_at": now - timedelta(seconds=5),
            "expires_at": now + timedelta(seconds=1800),
        }
        return sign_delegation(Delegation(**values | changes), owner.key, owner.certificate)

    def publish(self, age: int = 0) -> None:
        """The list of who is revoked, as agent and nodes have it from now on."""
        self.list_number += 1
        now = datetime.now(UTC) - timedelta(seconds=age)
        entries = [(serial, now) for serial in self.revoked]
        self.trust.update(self.authority.sign_crl(entries, number=self.list_number, now=now))

    def revoke(self, credentials: Credentials) -> None:
        self.revoked.append(credentials.certificate.serial_number)
        self.publish()

    # Running

    @contextmanager
    def running(self, nodes: int) -> Iterator["Lab"]:
        thread = threading.Thread(target=self._work, args=(nodes,))
        thread.start()
        try:
            self.ready.wait(60)
            if self.failure:
                raise self.failure
            yield self
        finally:
            self.stop()
            thread.join(60)
            self.engine.dispose()
            self.agent.registrar.close()  # type: ignore[attr-defined]

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """In the loop of agent and nodes."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def _work(self, nodes: int) -> None:
        try:
            asyncio.run(self._main(nodes))
        except BaseException as error:  # noqa: BLE001 - shown in the test's own thread
            self.failure = error
            self.ready.set()

    async def _main(self, nodes: int) -> None:
        self.loop, ending = asyncio.get_running_loop(), asyncio.Event()
        self.stop = lambda: self.loop.call_soon_threadsafe(ending.set)
        context = tls.server_context(self.agent_credentials)
        answering = asyncio.Event()

        def note(addresses: list[tuple[str, int]]) -> None:
            self.agent_url = f"https://{HOST}:{addresses[0][1]}"
            answering.set()

        listener = Listener(create_app(self.agent), HOST, 0, context, "agent")
        serving = asyncio.create_task(serve([listener], ready=note, stop=ending, grace=1))
        await answering.wait()
        async with AsyncExitStack() as stack:
            self.population = await self._populate(nodes, stack)
            self.ready.set()
            await serving
        self.population.close()

    async def _populate(self, count: int, stack: AsyncExitStack) -> Population:
        settings = SimulationSettings(
            state_dir=self.folder / "nodes",
            plc_url=self.plc_url,
            simulated_nodes=self.folder,
            agents=f"{self.identity.name}={self.agent_url}",
            slots=SLOTS,
            grace=1,
            advertise_seconds=2,
            expiry_seconds=0.2,
        )
        app = node_api.create_app(self.trust)
        nodes = [self._build(settings, number, app) for number in range(1, count + 1)]
        population = Population(nodes)
        rounds = Tasks()
        stack.push_async_callback(rounds.stop)
        for found in nodes:
            session = await stack.enter_async_context(Session(found.node.credentials))
            await recover(found.node)
            await found.doorway.open()
            stack.push_async_callback(found.doorway.close)
            agents = Agents(session, settings.agent_urls, _nowhere)
            advertiser = look_after(rounds, found.node, found.place, agents, settings)
            await advertiser.told.wait()
        return population

    def _build(self, settings: SimulationSettings, number: int, app: Any) -> SimulatedNode:
        name, address = f"s{number}", f"{self.network}.{number}"
        credentials = self.credentials(Identity(Role.NODE, name), addresses=[address])
        row = Row(name=name, address=address, site=SITES[number % len(SITES)], port=0)
        (self.folder / "nodes" / name).mkdir(parents=True)
        return SimulatedNode.build(settings, row, credentials, self.trust, app)

    # Clients

    def session(self, credentials: Credentials | None) -> Session:
        return Session(credentials, ca_pem=certificate_to_pem(self.authority.certificate))

    def agent_client(self, session: Session) -> AgentClient:
        return AgentClient(session, self.agent_url, self.identity)

    def node_client(self, session: Session, ad: Any, **options: Any) -> NodeClient:
        """Of a node that an ad or a ticket names."""
        return NodeClient(session, ad.api, Identity(Role.NODE, ad.node), **options)

    def node(self, address: str) -> SimulatedNode:
        (found,) = [one for one in self.population.nodes if one.row.address == address]
        return found

    def addresses(self) -> list[str]:
        return [found.row.address for found in self.population.nodes]

    async def settled_tickets(self) -> None:
        """Until every ticket that was given back is refused by its node."""
        table = tables.ticket
        for _ in range(600):
            with self.engine.connect() as connection:
                back = (table.c.state == "returned", table.c.expires_at > datetime.now(UTC))
                if connection.scalar(select(table.c.jti).where(*back).limit(1)) is None:
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("a ticket that was given back is still good at its node")

    def end_tickets(self) -> None:
        """As if every ticket that is out had run out."""
        now, table = datetime.now(UTC), tables.ticket
        ended = {"made_at": now - timedelta(hours=2), "expires_at": now - timedelta(hours=1)}
        with self.engine.begin() as connection:
            connection.execute(update(table).values(**ended))

    async def settled(self, session: Session, wanted: Callable[[Sequence[Ad]], bool]) -> Sequence[Ad]:
        """The ads, once they are as wanted."""
        found = None
        for _ in range(200):
            found = await self.agent_client(session).ads()
            assert found is not None
            if wanted(found.ads):
                return found.ads
            await asyncio.sleep(0.05)
        raise AssertionError(f"the ads never settled: {found}")


@cache
def user_key() -> PrivateKey:
    """One for all users: who they are is what their certificates say, and RSA keys take a while to make."""
    return new_private_key(Role.USER)


def _nowhere() -> Any:
    raise AssertionError("the agent's URL is in the settings")


def slice_name() -> str:
    """One that no other test has."""
    return f"slice{next(_numbers)}"


@contextmanager
def laboratory(postgres: Postgres, folder: Path, *, nodes: int) -> Iterator[Lab]:
    """A whole one, for a folder's tests."""
    name = f"lab_{next(_numbers)}_{folder.parent.name.replace('-', '_')}"[:60]
    postgres.create_database(name)
    environment = {
        "DSLICE_STATE_DIR": str(folder / "plc"),
        "DSLICE_DATABASE_URL": postgres.url("plc", name),
        "DSLICE_LISTEN": f"{HOST}:0",
    }
    settings = Settings(state_dir=folder / "plc", database_url=environment["DSLICE_DATABASE_URL"], names_per_user=1000)
    migrate(postgres.url("agent", name), "agent")
    with Bootstrap.open(settings) as bootstrap:
        bootstrap.central.passwords._hasher = CHEAP
        bootstrap.sites(SITES)
        with daemon("plc.daemon", environment, folder / "plc.log") as (_, address):
            lab = Lab(folder, f"https://{address}", bootstrap, postgres.url("agent", name))
            with lab.running(nodes):
                yield lab
