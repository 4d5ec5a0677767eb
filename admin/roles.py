"""`dslice run ROLE`: which function each daemon is. Imported only when it runs."""

from collections.abc import Callable, Mapping
from importlib import import_module

MAINS: Mapping[str, str] = {
    "plc": "plc.daemon:main",
    "agent": "agent.daemon:main",
    "nodemgr": "nodemgr.daemon:main",
    "simnodes": "testbed.simulation:main",
    "svmd": "svm.service.daemon:main",
    "worker": "workers.daemon:main_worker",
    "beat": "workers.daemon:main_beat",
    "flower": "workers.daemon:main_flower",
    "mail": "testbed.mailbox:main",
}

# What several daemons need, and takes most of a second or two to import. None of it reads the environment or starts
# a thread; `workers.app` does the former, and is left to those who run it.
SHARED_IMPORTS = (
    "agent.daemon",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "nodemgr.daemon",
    "testbed.simulation.process",
    "plc.bootstrap",
    "plc.daemon",
    "sqlalchemy.dialects.postgresql.psycopg",
    "svm.service.daemon",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


def run(role: str) -> None:
    """Run a daemon in this process until it is told to stop: settings from the environment."""
    module, _, name = MAINS[role].partition(":")
    main: Callable[[], None] = getattr(import_module(module), name)
    main()


def import_shared() -> None:
    """Import once what forked daemons then have for nothing."""
    for name in SHARED_IMPORTS:
        import_module(name)
