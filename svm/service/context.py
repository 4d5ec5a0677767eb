"""What svmd's routes share, passed in once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Engine

from lifecycle.operations import StepRef
from lifecycle.seal import Seal
from plc.client import AgentEntry, Directory, DirectoryCache
from rpc.credentials import Credentials
from rpc.health import Look
from rpc.settings import Network
from svm.service.watching import Watchers
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.store import TrustStore


@dataclass(frozen=True, slots=True)
class Service:
    """One svmd.

    Args:
        identity: its own; what delegations must name.
        publish: wakes the workers for committed steps; may be repeated, raises nothing.
        watchers: who waits for events of which operation.
        agents: the agents that users may name.
        broker: what is wrong with the queue, if something is (`rpc/health.py`).
        seal: of hooks' secrets and of links.
        hooks_allow: networks that hooks may be in although they are not public.
        role_silence: seconds without a sign of life after which beat or the workers count as dead.
        began: when this svmd did (monotonic), so that a start after a long pause shows nobody as dead.
    """

    identity: Identity
    credentials: Credentials
    store: TrustStore
    engine: Engine
    publish: Callable[[Sequence[StepRef]], object]
    watchers: Watchers
    agents: "KnownAgents"
    seal: Seal
    hooks_allow: tuple[Network, ...] = ()
    broker: Look = lambda: None
    role_silence: float = 300
    began: float = field(default_factory=time.monotonic)

    def now(self) -> datetime:
        return self.store.clock.now()

    @property
    def up(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began


class KnownAgents:
    """The well-known list of agents: nothing else that a user types is ever dialled."""

    def __init__(self, ask: Callable[[], Directory]) -> None:
        self._directory = DirectoryCache(ask)

    def entries(self) -> tuple[AgentEntry, ...]:
        """All of them, the default one first. Blocks while plc is asked; raises Refusal when none was ever known."""
        return self._directory().agents

    def named(self, names: Sequence[str]) -> tuple[AgentEntry, ...]:
        """The entries of these names, in their order. Raises Refusal(NOT_FOUND) that lists who is known."""
        if not names:
            return ()
        known = {entry.name: entry for entry in self.entries()}
        for name in names:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise Refusal(Code.NOT_FOUND, f"no agent {name[:64]!a} is known here; known: {listed}")
        return tuple(known[name] for name in dict.fromkeys(names))
