"""`dslice run ROLE`: which function each daemon is. Imported only when it runs."""

from collections.abc import Callable, Mapping
from importlib import import_module

MAINS: Mapping[str, str] = {
    "plc": "plc.daemon:main",
    "agent": "agent.daemon:main",
    "nodemgr": "nodemgr.daemon:main",
    "simnodes": "nodemgr.simulation:main",
    "svmd": "svm.service.daemon:main",
    "worker": "workers.daemon:main_worker",
    "beat": "workers.daemon:main_beat",
    "flower": "workers.daemon:main_flower",
    "mail": "testbed.mailbox:main",
}

# What several daemons need, and takes a second to import. None of it reads the environment or starts a thread.
SHARED_IMPORTS = (
    "aiohttp",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "cryptography.hazmat.primitives.serialization.ssh",
    "cryptography.x509.verification",
    "fastapi",
    "httptools",
    "joserfc.jws",
    "kombu.transport.redis",
    "paramiko",
    "prometheus_client",
    "psycopg",
    "pydantic_settings",
    "redis",
    "sqlalchemy.dialects.postgresql.psycopg",
    "structlog",
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
