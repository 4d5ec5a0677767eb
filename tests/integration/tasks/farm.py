"""A service manager without its front: operations are started as svmd does, a real Celery worker does them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from celery.contrib.testing.worker import start_worker
from pydantic import SecretStr
from sqlalchemy import Engine, text

from lifecycle.events import Event, events_since
from lifecycle.operations import Given, Operation, OperationRequest, SliceSpec, Started, Verb, read, start
from models.database import migrate
from nodemgr.client import SliverReply
from plc.client import PLC, AgentEntry, Directory
from rpc.credentials import Credentials
from tasks.publish import publish
from tasks.retry import Patience
from testbed.embedded import Postgres, Valkey
from tests.integration.agent.lab import AGENT, Lab
from trust.documents import DelegationKind
from workers.app import make_app
from workers.process import Process
from workers.settings import Settings

LONGEST = 60  # seconds that a test waits for an operation before it calls it lost
PATIENCE = Patience(times=2, seconds=6, first=0.1)  # a node that fails is asked three times, at once
_numbers = count(1)
Found = TypeVar("Found")


@dataclass
class Farm:
    """What tests do and look at."""

    lab: Lab
    database: Engine
    process: Process
    owners: dict[str, Credentials] = field(default_factory=dict)

    def start(self, verb: Verb, name: str, owner: Credentials, *, numnodes: int = 4, **options: Any) -> Started:
        """As svmd: write it down, commit, publish."""
        if verb in (Verb.CREATESLICE, Verb.NEWTICKETS) and "spec" not in options:
            options["spec"] = SliceSpec(numnodes, options.pop("leaselen", 3600), options.pop("ips", ()))
        self.owners[name] = owner
        tell = options.pop("publish", True)
        working = self.given(owner, name)
        wanted = OperationRequest(verb, name, owner.identity, working=working, connect_timeout=2, **options)
        with self.database.begin() as connection:
            started = start(connection, wanted)
        if tell:
            publish(started.publish)
        return started

    def run(self, verb: Verb, name: str, owner: Credentials, **options: Any) -> Operation:
        """Start it and wait for its end."""
        return self.ended(self.start(verb, name, owner, **options).operation)

    def ended(self, operation: UUID) -> Operation:
        """The operation, once it has ended."""

        def look() -> Operation | None:
            with self.database.connect() as connection:
                found = read(connection, operation)
            return found if found.outcome else None

        return until(look)

    def given(self, owner: Credentials, name: str, kind: DelegationKind = DelegationKind.WORKING, **more: Any) -> Given:
        """A delegation to this service manager, as the command line signs it."""
        now = datetime.now(UTC).replace(microsecond=0)
        token = self.lab.delegation(owner, name, kind=kind, **more)
        return Given(token, now, now + timedelta(seconds=1800), bool(more.get("heal")))

    def events(self, operation: UUID, type: str = "node") -> list[Event]:
        with self.database.connect() as connection:
            return [event for event in events_since(connection, operation, 0) if event.type == type]

    def errors(self, operation: UUID) -> dict[str, str]:
        """Node to code of those that failed."""
        return {e.node or "": e.code or "" for e in self.events(operation) if not e.ok}

    def rows(self, query: str, **bound: Any) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(text(query), bound))

    def execute(self, statement: str, **bound: Any) -> None:
        with self.database.begin() as connection:
            connection.execute(text(statement), bound)

    def states(self, name: str) -> dict[str, str]:
        query = """SELECT v.node, v.state FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
                   WHERE x.name = :name AND x.state <> 'deleted' ORDER BY v.position"""
        return {row.node: row.state for row in self.rows(query, name=name)}

    def fault(self, node: str, text: str) -> None:
        self.lab.run(self.lab.population.misbehave(node, text))

    def on_nodes(self, name: str) -> dict[str, str]:
        """What the nodes' own stores say: address to state, for every node that holds the slice."""
        found = {}
        for one in self.lab.population.nodes:
            lease = one.node.store.lease(name)
            if lease is not None:
                found[one.row.address] = lease.state
        return found

    def inventory(self, node: str) -> list[SliverReply]:
        async def ask() -> list[SliverReply]:
            async with self.lab.session(self.lab.svm_credentials) as session:
                (ad,) = [ad for ad in await self.lab.settled(session, bool) if ad.address == node]
                return await self.lab.node_client(session, ad).inventory()

        return self.lab.run(ask())

    def clear(self) -> None:
        """Delete every slice that a test has left, so that its places are free for the next."""
        for row in self.rows("SELECT DISTINCT name FROM svm.slice WHERE state = 'open'"):
            self.run(Verb.DELETESLICE, row.name, self.owners[row.name])
        assert self.rows("SELECT id FROM svm.operation WHERE ended_at IS NULL") == []
        assert self.rows("SELECT id FROM svm.step WHERE ended_at IS NULL") == []


def until(look: Callable[[], Found | None], seconds: float = LONGEST) -> Found:
    """What `look` finds, once it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def settings_for(lab: Lab, url: str, broker: str, folder: Path, **more: Any) -> Settings:
    return Settings(
        database_url=SecretStr(url),
        broker_url=SecretStr(broker),
        state_dir=lab.svm_credentials.directory,
        plc_url=lab.plc_url,
        slice_key_file=folder / "slice-key",
        threads=16,
        reserved=4,
        grace=1,
        **more,
    )


def known_agents(lab: Lab) -> Callable[[], Directory]:
    """The lab's agent has its certificate from the test, not by enrolling, so plc's directory lacks it."""
    known = Directory(PLC, "", svmd=None, svm=None, agents=(AgentEntry(AGENT.name, vars(lab)["agent_url"]),))
    return lambda: known


@contextmanager
def farming(lab: Lab, postgres: Postgres, valkey: Valkey, folder: Path) -> Iterator[Farm]:
    """A migrated database and a Celery worker (pool of threads) in this process."""
    name = f"farm_{next(_numbers)}"
    postgres.create_database(name)
    url = postgres.url("svm", name)
    migrate(url, "svm")
    settings = settings_for(lab, url, valkey.url, folder)
    app = make_app(settings)
    process = Process(settings)
    process.start()
    process.worker_context.directory = known_agents(lab)
    process.worker_context.policy = replace(settings.policy, patience=PATIENCE)
    with start_worker(
        app, pool="threads", concurrency=16, perform_ping_check=False, shutdown_timeout=60, without_heartbeat=True
    ):
        yield Farm(lab, process.database, process)
    process.stop()
