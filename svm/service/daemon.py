"""`dslice run svmd`: the service manager's front in the foreground."""

import asyncio
from functools import partial

from lifecycle.metrics import TableCollector
from lifecycle.upgrading import upgrade
from models.database import engine
from plc.client import Member
from plc.client.service import joined, serve_announced
from rpc import daemon, metrics
from rpc.aio import Session
from rpc.background import repeat
from rpc.server import Listener
from rpc.settings import split_host_port
from svm.service.api import create_app, health_of
from svm.service.context import KnownAgents, Service
from svm.service.endings import LOOK_SECONDS, Endings
from svm.service.settings import Settings
from svm.service.watching import Watchers
from trust.identity import Role


def main() -> None:
    """Serve until SIGTERM; prints `ready ADDRESS` once it answers."""
    daemon.start("svmd", Settings, run)


def run(settings: Settings) -> None:
    """The same, with these settings."""
    # Before anything is published: without it Celery would send messages to a broker nobody chose.
    from tasks.publish import publish
    from workers.app import app
    from workers.broker import trouble

    database_url = settings.database_url.get_secret_value()
    upgrade(database_url)
    with joined(settings, Role.SVM, settings.name) as member:
        service = Service(
            identity=member.identity,
            credentials=member.credentials,
            store=member.store,
            engine=engine(database_url, pool_size=10, max_overflow=30),
            publish=publish,
            watchers=Watchers(),
            agents=KnownAgents(member.plc.directory),
            broker=partial(trouble, app),
            role_silence=settings.role_silence,
        )
        asyncio.run(_serve(settings, member, service))


async def _serve(settings: Settings, member: Member, service: Service) -> None:
    session = Session(member.credentials)
    context = member.server_context()
    member.on_renew(session.reload)
    listener = Listener(create_app(service, session), *split_host_port(settings.listen), context, "svmd")
    numbers = metrics.listeners(settings, health_of(service), TableCollector(service.engine))
    endings = repeat(Endings(service.engine).look, LOOK_SECONDS, "cannot look for ended operations; trying again")
    await serve_announced(member, [listener, *numbers], settings.url, endings)


if __name__ == "__main__":
    main()
