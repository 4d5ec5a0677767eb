"""`dslice run svmd`: the service manager's front in the foreground."""

import asyncio
from functools import partial

from lifecycle.metrics import TableCollector
from lifecycle.seal import KEY_FILE, Seal
from lifecycle.upgrading import upgrade
from models.database import engine
from plc.client import Member
from plc.client.service import joined, serve_announced
from rpc import daemon, metrics
from rpc.aio import Session
from rpc.background import repeat
from rpc.server import Listener
from rpc.settings import split_host_port, split_networks
from svm.service.api import create_app, health_of
from svm.service.context import KnownAgents, Service
from svm.service.endings import LOOK_SECONDS, Endings
from svm.service.links import create_pages
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
            engine=engine(database_url, connections=40),
            publish=publish,
            watchers=Watchers(),
            agents=KnownAgents(member.plc.directory),
            seal=Seal.from_file(settings.slice_key_file or settings.state_dir / KEY_FILE),
            hooks_allow=split_networks(settings.hooks_allow),
            broker=partial(trouble, app),
            role_silence=settings.role_silence,
        )
        asyncio.run(_serve(settings, member, service))


async def _serve(settings: Settings, member: Member, service: Service) -> None:
    session = Session(member.credentials)
    context = member.server_context()
    member.on_renew(session.reload)
    listener = Listener(create_app(service, session), *split_host_port(settings.listen), context, "svmd")
    pages = _pages(settings, member, service)
    numbers = metrics.listeners(settings, health_of(service), TableCollector(service.engine))
    endings = repeat(Endings(service.engine).look, LOOK_SECONDS, "cannot look for ended operations; trying again")
    await serve_announced(member, [listener, *pages, *numbers], settings.url, endings)


def _pages(settings: Settings, member: Member, service: Service) -> list[Listener]:
    """For links in letters, where a setting asks for it: at an address of its own, without client certificates."""
    if not settings.links_listen:
        return []
    app = create_pages(service)
    return [Listener(app, *split_host_port(settings.links_listen), member.page_context(), "links")]


if __name__ == "__main__":
    main()
