"""`dslice run agent`: one agent in the foreground."""

import asyncio
from functools import partial

import uvloop

from agent import drains
from agent.api import create_app, health_of
from agent.issuing import Agent
from agent.metrics import AdCollector
from agent.places import Bounds
from agent.settings import Settings
from models.database import engine, migrate
from plc.client import Member
from plc.client.service import joined, serve_announced
from rpc import daemon, metrics
from rpc.background import repeat
from rpc.server import Listener
from rpc.settings import split_host_port
from trust.identity import Role

PURGE_SECONDS = 600


def main() -> None:
    """Serve until SIGTERM; prints `ready ADDRESS` once it answers."""
    daemon.start("agent", Settings, run)


def run(settings: Settings) -> None:
    """The same, with these settings."""
    database_url = settings.database_url.get_secret_value()
    migrate(database_url, "agent")
    with joined(settings, Role.AGENT, settings.name) as member:
        agent = Agent(
            identity=member.identity,
            credentials=member.credentials,
            store=member.store,
            engine=engine(database_url, connections=40),
            registrar=member.plc,
            bounds=Bounds(settings.tickets_per_user, settings.tickets_share),
        )
        uvloop.run(_serve(settings, member, agent))


async def _serve(settings: Settings, member: Member, agent: Agent) -> None:
    listener = Listener(create_app(agent), *split_host_port(settings.listen), member.server_context(), "agent")
    numbers = metrics.listeners(settings, health_of(agent), AdCollector(agent.engine, agent.store.clock))
    purge = partial(asyncio.to_thread, agent.purge)
    purges = repeat(purge, PURGE_SECONDS, "cannot purge old tickets; trying again later")
    look = partial(asyncio.to_thread, drains.heed(member.plc.orders, agent.engine))
    looks = repeat(look, drains.LOOK_SECONDS, "cannot ask plc which nodes are drained; trying again")
    await serve_announced(member, [listener, *numbers], settings.url, purges, looks)


if __name__ == "__main__":
    main()
