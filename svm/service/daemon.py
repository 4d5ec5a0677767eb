"""`dslice run svmd`: the service manager's front in the foreground."""

import asyncio
import sys

from prometheus_client import REGISTRY

from lifecycle.metrics import TableCollector
from models.database import engine, migrate
from plc.client import Member
from rpc import logs, metrics, tls
from rpc.aio import Session
from rpc.background import Tasks
from rpc.server import Listener, serve
from svm.service.api import create_app
from svm.service.context import KnownAgents, Service
from svm.service.settings import Settings
from svm.service.watching import Watchers
from trust.clock import system_clock
from trust.errors import Refusal
from trust.identity import Role


def main() -> None:
    """Run; a refusal at the start (a setting, a token, plc away) is said in one line."""
    try:
        run()
    except Refusal as refusal:
        sys.exit(f"svmd: {refusal.reason}")


def run() -> None:
    """Serve until SIGTERM; prints `ready ADDRESS` once it answers."""
    # Before anything is published: without it Celery would send messages to a broker nobody chose.
    import workers.app  # noqa: F401
    from tasks.publish import publish

    settings = Settings.load()
    logs.configure(settings.log_level, "svmd")
    database_url = settings.database_url.get_secret_value()
    migrate(database_url, "svm")
    member = Member.join(
        directory=settings.state_dir,
        plc_url=settings.plc_url,
        role=Role.SVM,
        name=settings.name,
        token=settings.token,
        clock=system_clock(),
    )
    service = Service(
        identity=member.identity,
        credentials=member.credentials,
        store=member.store,
        engine=engine(database_url, pool_size=10, max_overflow=30),
        publish=publish,
        watchers=Watchers(),
        agents=KnownAgents(member.plc.directory),
        role_silence=settings.role_silence,
    )
    member.start()
    try:
        asyncio.run(_serve(settings, member, service))
    finally:
        member.stop()


async def _serve(settings: Settings, member: Member, service: Service) -> None:
    context = tls.server_context(member.credentials)
    session = Session(member.credentials)
    loop = asyncio.get_running_loop()

    def renewed() -> None:
        tls.reload(context, member.credentials)
        loop.call_soon_threadsafe(session.reload)

    member.on_renew(renewed)
    listeners = [Listener(create_app(service, session), settings.host, settings.port, context, "svmd")]
    if settings.metrics_listen:
        listeners.append(metrics.listener(settings.metrics_listen, settings.metrics_token))
        REGISTRY.register(TableCollector(service.engine))
    tasks = Tasks()

    def ready(addresses: list[tuple[str, int]]) -> None:
        host, port = addresses[0]
        tasks.begin(member.keep_announcing(settings.url or f"https://{host}:{port}"))
        sys.stdout.write(f"ready {host}:{port}\n")
        sys.stdout.flush()

    async with tasks:
        await serve(listeners, ready=ready)


if __name__ == "__main__":
    main()
