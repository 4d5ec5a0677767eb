"""Which agents a node deals with, and where they answer: named by its settings, found in plc's directory."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.client import AgentClient
from plc.client import Directory
from rpc.aio import Session
from rpc.background import surviving
from trust.identity import Identity

LOOK_AGAIN = 1  # seconds, while an agent is not found
KNOWN_FOR = 60  # seconds between two looks when all are: an agent may have moved


def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Agents:
    """Clients of a node's agents; `clients` is kept up to date in place.

    Args:
        session: with the node's certificate.
        urls: the agents of the settings; those without a URL are looked up.
        directory: plc's, asked in a thread.
        found: called when an agent was found, or found elsewhere.
    """

    session: Session
    urls: Mapping[Identity, str | None]
    directory: Callable[[], Directory]
    found: Callable[[], None] = _nothing
    clients: dict[Identity, AgentClient] = field(default_factory=dict)
    _where: dict[Identity, str] = field(default_factory=dict)

    async def run(self) -> None:
        """For ever."""
        while True:
            with surviving("cannot look up agents; trying again"):
                await self.look()
            await asyncio.sleep(KNOWN_FOR if self.clients.keys() == self.urls.keys() else LOOK_AGAIN)

    async def look(self) -> None:
        """Once. Refusal when plc does not answer; what was known stays."""
        urls = dict(self.urls)
        if None in urls.values():
            listed = {entry.identity: entry.url for entry in (await asyncio.to_thread(self.directory)).agents}
            urls = {agent: url or listed.get(agent) for agent, url in urls.items()}
        new = {agent: url for agent, url in urls.items() if url and self._where.get(agent) != url}
        for agent, url in new.items():
            self._where[agent] = url
            self.clients[agent] = AgentClient(self.session, url, agent)
        if new:
            self.found()
