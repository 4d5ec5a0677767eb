"""What a worker process has for its steps: one event loop, one session, one writer, and whom it trusts."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from agent.client import AgentClient
from lifecycle.facts import SliceFacts, SliverFacts
from lifecycle.outcome import Claim
from lifecycle.seal import Seal
from lifecycle.steps import Hold
from lifecycle.writer import Writer
from models.states import Kind
from nodemgr.client import NodeClient
from plc.client import AgentEntry, Directory
from rpc.aio import Session
from rpc.settings import Network
from tasks.concurrency_limit import ConcurrencyLimit
from tasks.retry import Patience
from tasks.together import Together
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.store import TrustStore

T = TypeVar("T")
Asked = TypeVar("Asked")

WAITED_FOR = Patience(times=3, seconds=30)
BY_ITSELF = Patience(times=6, seconds=600, first=5.0)


@dataclass(frozen=True, slots=True)
class Policy:
    """Durations in seconds.

    Args:
        step: the deadline of a whole step; it bounds a warm stop. A claim lapses `slack` after it.
        patience: with transient errors while a user waits; `background` for beat's own work.
        publish_again: when a released step that nobody took is published again.
        grace: nodes end a sliver this long after its lease.
        silent: a node that has not answered for this long is replaced in slices that heal.
        history_days: how long ended operations and deleted slices are kept.
        smtp_url, mail_from: how owners get letters; without a server they get none.
        links_url: where the page is that a link in a letter opens; without it letters have none.
        hooks_allow: networks that webhooks may go to although they are not public.
    """

    step: int = 45
    slack: int = 30
    patience: Patience = WAITED_FOR
    background: Patience = BY_ITSELF
    publish_again: int = 60
    grace: int = 60
    silent: int = 900
    history_days: int = 365
    smtp_url: str = ""
    mail_from: str = "svm@localhost"
    links_url: str = ""
    hooks_allow: tuple[Network, ...] = ()

    @property
    def lasting(self) -> int:
        """How long a claim lasts."""
        return self.step + self.slack


@dataclass(slots=True)
class WorkerContext:
    """One for each worker process, made at its start (`workers.process`).

    Args:
        directory: plc's; may block.
        worker: this worker's number, while it has a session of its own (`workers.presence`).
        heard: when the last message came.
        missed: set when broker or database were away, so that messages may be lost (`workers.republisher`).
        closing: the process was told to stop: no step goes on to the one that follows it.
    """

    identity: Identity
    database: Engine
    loop: asyncio.AbstractEventLoop
    session: Session
    store: TrustStore
    seal: Seal
    writer: Writer
    directory: Callable[[], Directory]
    policy: Policy = field(default_factory=Policy)
    background: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(32))
    worker: int | None = None
    heard: float = field(default_factory=time.monotonic)
    missed: Event = field(default_factory=Event)
    closing: bool = False
    _together: dict[Callable[..., Any], Together[Any, Any]] = field(default_factory=dict)

    @property
    def hold(self) -> Hold | None:
        """How this worker claims what follows a step at its node; None: the next one is a message for anybody."""
        return None if self.closing else Hold(self.policy.lasting, self.worker)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop; for pool threads."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def transaction(self, query: Callable[..., T], *args: object) -> T:
        """A short look into the database, in a transaction of its own."""

        def in_transaction() -> T:
            with self.database.begin() as connection:
                return query(connection, *args)

        return await asyncio.to_thread(in_transaction)

    async def together(self, look: Callable[[Connection, Sequence[Asked]], Sequence[T]], question: Asked) -> T:
        """What a look finds for this question; steps that ask for one look at the same time share a transaction."""
        if look not in self._together:
            self._together[look] = Together(self.database, look)
        found: T = await self._together[look].ask(question)
        return found

    def node(self, claim: Claim, sliver: SliverFacts) -> NodeClient:
        """The node manager that holds, or is to hold, this sliver."""
        return NodeClient(
            self.session,
            sliver.api,
            Identity(Role.NODE, sliver.node_name),
            connect_timeout=claim.connect_timeout,
            deadline=self.policy.step,
        )

    def agent(self, entry: AgentEntry) -> AgentClient:
        """One agent of the well-known list."""
        return AgentClient(self.session, entry.url, entry.identity)

    async def agents(self, names: Sequence[str]) -> list[AgentEntry]:
        """The agents of these names, in their order; without names the default one, which is the list's first."""
        known = (await asyncio.to_thread(self.directory)).agents
        if not names:
            if not known:
                raise Refusal(Code.NOT_FOUND, "plc knows no agent yet: ask its operator")
            return [known[0]]
        found = {entry.name: entry for entry in known}
        for name in names:
            if name not in found:
                raise Refusal(Code.NOT_FOUND, f"no agent {name} is known to plc any more")
        return [found[name] for name in names]


def facts(claim: Claim) -> tuple[SliceFacts, SliverFacts]:
    """The slice and sliver of a step that has both. Raises Refusal(NOT_FOUND) when they are gone."""
    if claim.slice is None or claim.sliver is None:
        raise Refusal(Code.NOT_FOUND, "the slice or its node is gone")
    return claim.slice, claim.sliver


def delegation(claim: Claim, slice_: SliceFacts) -> str:
    """The owner's permission to show: the standing one for what beat renews by itself, the links' for a link, else the
    newest. Raises Refusal(NOT_ALLOWED) when there is none that is still valid.
    """
    by_itself = claim.kind is Kind.RENEW and claim.options.get("by_itself")
    found = (slice_.standing or slice_.working) if by_itself else (slice_.working or slice_.standing)
    if claim.options.get("by_link"):
        found = slice_.by_link or slice_.standing
    if found is None:
        raise Refusal(Code.NOT_ALLOWED, f"{slice_.owner.name}'s permission has ended: run the command again to give it")
    return found


def ended(sliver: SliverFacts) -> Refusal:
    """That a node's ticket or lease is over, which createslice alone mends: it makes what a slice lacks."""
    what = "lease has ended" if sliver.lease is not None else "ticket ran out"
    return Refusal(Code.TICKET_EXPIRED, f"its {what}: svm createslice with the same file makes its VM anew")


_current: WorkerContext | None = None


def set_worker_context(worker_context: WorkerContext | None) -> None:
    """Make it this process's (None: there is none any more)."""
    global _current  # noqa: PLW0603 - Celery's tasks are functions of the process
    _current = worker_context


def worker_context() -> WorkerContext:
    """This process's."""
    if _current is None:
        raise RuntimeError("no worker runs in this process")
    return _current


def transaction(query: Callable[..., T], *args: object, **named: object) -> T:
    """Call it with a connection, in a transaction of its own; for pool threads."""
    with worker_context().database.begin() as connection:
        return query(connection, *args, **named)
