"""`dslice run agent`: one agent in the foreground."""

import asyncio
import sys

from prometheus_client import REGISTRY

from agent.api import create_app
from agent.issuing import Agent
from agent.metrics import AdCollector
from agent.places import Bounds
from agent.settings import Settings
from models.database import engine, migrate
from plc.client import Member
from rpc import logs, metrics, tls
from rpc.background import Tasks, surviving
from rpc.server import Listener, serve
from trust.clock import system_clock
from trust.errors import Refusal
from trust.identity import Role

PURGE_SECONDS = 600


def main() -> None:
    """Run; a refusal at the start (a setting, a token, plc away) is said in one line."""
    try:
        run()
    except Refusal as refusal:
        sys.exit(f"agent: {refusal.reason}")


def run() -> None:
    """Serve until SIGTERM; prints `ready ADDRESS` once it answers."""
    settings = Settings.load()
    logs.configure(settings.log_level, "agent")
    database_url = settings.database_url.get_secret_value()
    migrate(database_url, "agent")
    member = Member.join(
        directory=settings.state_dir,
        plc_url=settings.plc_url,
        role=Role.AGENT,
        name=settings.name,
        token=settings.token,
        clock=system_clock(),
    )
    agent = Agent(
        identity=member.identity,
        credentials=member.credentials,
        store=member.store,
        engine=engine(database_url, pool_size=10, max_overflow=30),
        registrar=member.plc,
        bounds=Bounds(settings.tickets_per_user, settings.tickets_share),
    )
    member.start()
    try:
        asyncio.run(_serve(settings, member, agent))
    finally:
        member.stop()


async def _serve(settings: Settings, member: Member, agent: Agent) -> None:
    context = tls.server_context(member.credentials)
    member.on_renew(lambda: tls.reload(context, member.credentials))
    listeners = [Listener(create_app(agent), settings.host, settings.port, context, "agent")]
    if settings.metrics_listen:
        listeners.append(metrics.listener(settings.metrics_listen, settings.metrics_token))
        REGISTRY.register(AdCollector(agent.engine, agent.store.clock))

    def ready(addresses: list[tuple[str, int]]) -> None:
        host, port = addresses[0]
        tasks.begin(member.keep_announcing(settings.url or f"https://{host}:{port}"))
        sys.stdout.write(f"ready {host}:{port}\n")
        sys.stdout.flush()

    async with Tasks() as tasks:
        tasks.begin(_purge(agent))
        await serve(listeners, ready=ready)


async def _purge(agent: Agent) -> None:
    while True:
        with surviving("cannot purge old tickets; trying again later"):
            await asyncio.to_thread(agent.purge)
        await asyncio.sleep(PURGE_SECONDS)


if __name__ == "__main__":
    main()
