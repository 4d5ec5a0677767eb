"""The whole system for one example: nodes, an agent, workers, the queue between them, and what users ask of it."""

import asyncio
import inspect
import tempfile
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from agent import ads
from agent.api import create_app as agent_app
from agent.issuing import Agent
from agent.places import Bounds
from lifecycle.operations import Given, OperationRequest, Started, Verb, start
from lifecycle.seal import Seal
from lifecycle.steps import StepRef
from models.states import Kind
from nodemgr.api import at
from nodemgr.api import create_app as node_app
from nodemgr.liveness import end_sliver
from nodemgr.storage.store import Burnt
from plc.client import PLC, AgentEntry, Directory
from tasks import context
from tasks import publish as publishing
from tasks.context import Policy, WorkerContext
from tasks.publish import publish
from tests.integration.machine.clock import OneClock
from tests.integration.machine.places import GRACE, FusedEngine, Names, Site, credentials
from tests.integration.machine.wire import Fate, Wire
from tests.integration.machine.worker import TASKS, Message, PromptWriter, Stopped
from tests.unit.nodemgr.test_machine import Crash, Fuse
from tests.unit.trust import factories
from tests.unit.trust.factories import AGENT, DAY, NOW, SVM, USER, authority, certificate_of, key_of
from trust.documents import DelegationKind, sign_delegation
from trust.identity import Identity, Role
from trust.store import TrustStore

OTHER = Identity.user("dec@cs.berkeley.edu")
NODES = 4
AGENT_HOST = "127.0.2.1"
POLICY = Policy(publish_again=2, grace=GRACE, silent=600)
EMPTY = """
    TRUNCATE svm.slice, svm.operation, svm.node, svm.finding, agent.ad, agent.registration, agent.request, agent.ticket
        RESTART IDENTITY CASCADE;
    ALTER SEQUENCE clock.ids RESTART
"""


def _publish(refs: list[StepRef]) -> None:
    publish(refs)


class Shop(WorkerContext):
    """A worker_context whose steps run in the test's own turn until they end or are stopped."""

    whole: "Whole"

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        self.whole.follow(work)

    async def transaction(self, query: Any, *args: object) -> Any:
        with self.database.begin() as connection:
            return query(connection, *args)


class Later:
    """The loop as steps see it: what is to happen later is written down, and happens when the clock says so."""

    def __init__(self, whole: "Whole") -> None:
        self.whole = whole

    def call_later(self, delay: float, work: Any, *args: Any) -> None:
        self.whole.later.append((self.whole.clock.now() + timedelta(seconds=delay), work, args))


@dataclass
class Ground:
    """What examples share: the database, and a number for revocation lists that only grows."""

    database: Engine
    folder: Path
    lists: int = 0

    def __post_init__(self) -> None:
        self.clock = OneClock(self.database)
        self.trust = TrustStore(authority().certificate, self.clock)
        self.app = node_app(self.trust)
        self.agent_credentials = credentials(self.folder / "agent", AGENT)

    def fresh_list(self) -> None:
        """As plc signs one each minute."""
        self.lists += 1
        self.trust.update(authority().sign_crl([], number=self.lists, now=self.clock.now()))


@contextmanager
def at_work(whole: "Whole") -> Iterator["Whole"]:
    """The process's worker_context and queue are this one's, whatever other tests have put there."""
    before, send = context._current, publishing._send
    context.set_worker_context(whole.context)
    publishing._send = lambda app, messages: whole.put(
        [(kind, queue, [ref.id for ref in refs]) for kind, queue, refs in messages]
    )
    try:
        yield whole
    finally:
        context._current, publishing._send = before, send


@dataclass
class Whole:
    """Everything of one example. What was claimed by nobody and what was sent are lists that rules take from."""

    ground: Ground
    queue: list[Message] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    later: list[tuple[Any, Any, Any]] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)
    beside: "list[tuple[int, asyncio.Task[Any]]] | None" = None

    def __post_init__(self) -> None:
        ground = self.ground
        self.loop = asyncio.new_event_loop()
        with ground.database.begin() as connection:
            connection.execute(text(EMPTY))
        self.clock = ground.clock
        self.clock.set(NOW)
        ground.fresh_list()
        self.folder = tempfile.TemporaryDirectory(dir=ground.folder)
        self.names = Names(ground.trust)
        self.agent_fuse, self.fuse = Fuse(), Fuse()
        self.wire = Wire(self.restart)
        self.sites = [Site(n, Path(self.folder.name) / f"n{n}", ground.trust) for n in range(1, NODES + 1)]
        for site in self.sites:
            self._connect(site)
        self.start_agent()
        self.database = FusedEngine(ground.database, self.fuse)
        self.context = self._shop()
        self.advertise()

    def _shop(self) -> Shop:
        entry = AgentEntry(AGENT.name, f"https://{AGENT_HOST}:1")
        later: Any = Later(self)
        database: Any = self.database
        self.writer = PromptWriter(database, _publish)
        session: Any = self.wire
        context = Shop(
            identity=SVM,
            database=database,
            loop=later,
            session=session,
            store=self.ground.trust,
            seal=Seal(bytes(32)),
            writer=self.writer,
            directory=lambda: Directory(PLC, "", svmd=None, svm=None, agents=(entry,)),
            policy=POLICY,
        )
        context.whole = self
        return context

    def start_agent(self) -> None:
        """The agent's process, anew."""
        self.agent_fuse.left = None
        engine: Any = FusedEngine(self.ground.database, self.agent_fuse)
        agent = Agent(AGENT, self.ground.agent_credentials, self.ground.trust, engine, self.names, Bounds(50, 50))
        self.wire.apps[AGENT_HOST] = agent_app(agent)

    async def restart(self, host: str) -> None:
        """Whose process died starts again."""
        if host == AGENT_HOST:
            self.start_agent()
            return
        (site,) = [site for site in self.sites if site.address == host]
        await site.restart()
        self._connect(site)

    async def end_vm(self, site: Site, slice: str) -> None:
        """It ends by itself, and its node sees that."""
        try:
            await end_sliver(site.node, slice, "ended by itself")
        except Crash:
            await self.restart(site.address)

    def _connect(self, site: Site) -> None:
        self.wire.apps[site.address] = at(self.ground.app, site.node, site.place.frontdoor)

    def do(self, work: Awaitable[Any]) -> Any:
        """Run it to its end."""
        return self.loop.run_until_complete(work)

    def advertise(self) -> None:
        """Every node that is up tells the agent what it has."""
        with self.ground.database.begin() as connection:
            for site in self.sites:
                if site.alive and site.address not in self.wire.down:
                    ad, burnt = site.advertised()
                    said = [ads.Said(ad, burnt)]
                    for back in ads.put(connection, said, self.clock.now()).get(ad.node, []):
                        site.store.burn(Burnt(back.jti, back.owner, AGENT, back.slice_id, back.expires_at))

    def forward(self, seconds: float) -> None:
        """Time goes on; nodes notice what has ended, workers what they waited for."""
        self.clock.forward(seconds)
        self.ground.fresh_list()
        for site in self.sites:
            self.do(site.tick())
        due = [item for item in self.later if item[0] <= self.clock.now()]
        self.later = [item for item in self.later if item[0] > self.clock.now()]
        for _, work, args in due:
            self.mortal(lambda work=work, args=args: work(*args))

    # Messages and workers

    def put(self, messages: Sequence[tuple[Kind, Any, list[int]]]) -> int:
        """Takes the place of Celery's producer."""
        for kind, _, ids in messages:
            self.queue.append((kind, tuple(ids)))
            self.sent.append((kind, tuple(ids)))
        return len(messages)

    def mortal(self, work: Any) -> Any:
        """Do it; a process that dies at it is followed by another."""
        try:
            return work()
        except Crash:
            return None
        finally:
            self.fuse.left, self.database.dead = None, False

    def deliver(self, message: Message) -> None:
        """A worker takes the message."""
        kind, ids = message
        self.advertise()
        self.mortal(lambda: TASKS[kind](list(ids)))
        self.wire.doom(Fate.ARRIVES)

    def deliver_together(self, messages: Sequence[Message]) -> None:
        """Workers take these side by side, and what they did is committed in one transaction."""
        self.advertise()
        beside: list[tuple[int, asyncio.Task[Any]]] = []
        self.beside, self.writer.group = beside, []
        try:
            self.mortal(lambda: self._together(messages))
        finally:
            self.beside, self.writer.group = None, None
            for _, task in beside:
                if not task.done():  # its process died
                    task.cancel()
                with suppress(asyncio.CancelledError, Crash):
                    self.do(task)

    def _together(self, messages: Sequence[Message]) -> None:
        for kind, ids in messages:
            TASKS[kind](list(ids))
        tasks, steps = [task for _, task in self.beside or ()], sum(steps for steps, _ in self.beside or ())

        async def acted() -> None:
            while len(self.writer.group or ()) < steps and not any(task.done() for task in tasks):
                await asyncio.sleep(0)

        self.do(acted())
        entries, self.writer.group = self.writer.group or [], None
        self.writer._write(entries)
        self.do(asyncio.gather(*tasks))

    def work_off(self) -> None:
        """Workers take messages until there are none."""
        for _ in range(500):
            if not self.queue:
                return
            self.deliver(self.queue.pop(0))
        raise AssertionError("messages without end")

    def follow(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a step until it has ended, or its worker was stopped."""
        task = self.loop.create_task(work)
        if self.beside is None:
            self._until_quiet(task)
        else:
            # All at work before any has come to its end.
            self.beside.append((len(inspect.getcoroutinelocals(work)["claims"]), task))

    def _until_quiet(self, task: "asyncio.Task[Any]") -> None:
        self.wire.on_stop = on_stop = self.loop.create_future()
        self.do(asyncio.wait({task, on_stop}, return_when=asyncio.FIRST_COMPLETED))
        self.wire.on_stop = None
        if task.done():
            task.result()
        else:
            self.stopped.append(Stopped(self.wire.stopped.pop(), task))

    def resume(self, which: int) -> None:
        """A stopped worker goes on (SIGCONT)."""
        stopped = self.stopped.pop(which % len(self.stopped))
        stopped.gate.set_result(None)
        self.mortal(lambda: self._until_quiet(stopped.task))
        self.wire.doom(Fate.ARRIVES)

    def kill(self, which: int) -> None:
        """A stopped worker is killed (SIGKILL)."""
        task = self.stopped.pop(which % len(self.stopped)).task
        task.cancel()
        with suppress(asyncio.CancelledError):
            self.do(task)

    # What users ask

    def ask(self, verb: Verb, name: str, owner: Identity = USER, **options: Any) -> Started | None:
        """As svmd does it; None when svmd died before it could answer."""
        wanted = OperationRequest(verb, name, owner, working=self.given(owner, name), **options)

        def begin() -> Started:
            with self.database.begin() as connection:
                started = start(connection, wanted)
            publish(started.publish)
            return started

        found: Started | None = self.mortal(begin)
        return found

    def given(self, owner: Identity, name: str, *, days: int = 0, heal: bool = False) -> Given:
        """A delegation as the command line signs it: working, or a standing one for so many days."""
        now = self.clock.now().replace(microsecond=0)
        end = now + timedelta(seconds=days * DAY or DAY)
        made = factories.delegation(
            issuer=owner,
            slice=name,
            kind=DelegationKind.STANDING if days else DelegationKind.WORKING,
            issued_at=now,
            expires_at=min(end, NOW + timedelta(days=30)),
            heal=heal,
        )
        token = sign_delegation(made, key_of(Role.USER), certificate_of(owner))
        return Given(token, now, made.expires_at, heal)

    def rows(self, query: str, **bound: Any) -> list[Any]:
        with self.ground.database.connect() as connection:
            return list(connection.execute(text(query), bound))

    def slice_ids(self) -> dict[UUID, str]:
        return {row.slice_id: row.name for row in self.rows("SELECT slice_id, name FROM svm.slice")}

    def close(self) -> None:
        while self.stopped:
            self.kill(0)
        for site in self.sites:
            site.store.close()
        self.do(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()
