"""A daemon as a process forked from a server that has imported what takes long. Imports nothing itself."""

import os
import sys
from collections.abc import Mapping
from importlib import import_module

# What daemons need and what reads no environment when it is imported (`workers.app` does).
PRELOAD = [
    "celery.apps.worker",
    "celery.beat",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "flower.app",
    "kombu.transport.redis",
    "tasks.newtickets",
    "tasks.reconcile",
    "models.database",
    "plc.client",
    "prometheus_client",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "structlog",
]


def run(role: str, environment: Mapping[str, str], out: str, log: str) -> None:
    """The daemon's main function, with this environment, its stdout and stderr in files."""
    for name in [name for name in os.environ if name.startswith("DSLICE_")]:
        del os.environ[name]
    os.environ.update(environment)
    for path, number in ((out, 1), (log, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["dslice", "run", role]
    getattr(import_module("workers.daemon"), f"main_{role}")()
