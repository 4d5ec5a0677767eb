"""`dslice run worker|beat|flower`: one daemon in the foreground, settings from the environment.

Each prints one line, `ready …`, when it is at work; logs go to stderr as JSON lines.
"""

import os
import signal
import socket
import sys
import warnings
from types import FrameType
from typing import Any, NoReturn

from celery import signals
from celery.beat import Service
from celery.exceptions import SecurityWarning

from rpc import logs, metrics
from workers.app import app
from workers.process import Process
from workers.republisher import Connected
from workers.scheduler import MemoryScheduler
from workers.settings import Settings


def main_worker() -> None:
    """A worker: a pool of threads, one loop, one writer. SIGTERM: what is at work is finished, within 45 s."""
    settings = Settings.load()
    _log(settings, "worker")
    # Its concern is pickle, which this app refuses.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    process = Process(settings)
    app.steps["consumer"].add(Connected)
    worker = app.Worker(
        hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
        queues=settings.queues.split(","),
        pool="threads",
        concurrency=settings.threads,
        without_mingle=True,
        without_gossip=True,
        task_events=True,
        loglevel=settings.log_level,
        quiet=True,
    )
    _at_signals(process)
    _serve_metrics(settings)
    process.start()
    worker.start()
    sys.exit(worker.exitcode)


def main_beat() -> None:
    """Beat, Celery's own. Two of them do no harm."""
    settings = Settings.load()
    _log(settings, "beat")
    service = Service(app, scheduler_cls=MemoryScheduler, max_interval=5)

    def stop(signal_number: int, frame: FrameType | None) -> NoReturn:
        del signal_number, frame
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _serve_metrics(settings)
    signals.beat_init.connect(lambda **_: _ready("beat"), weak=False)  # its schedule is made
    service.start()


def main_flower() -> None:
    """Flower: read-only, with a password, on loopback. A view, never evidence."""
    from flower.app import Flower
    from flower.options import default_options as options
    from flower.urls import settings as pages
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    settings = Settings.load()
    _log(settings, "flower")
    host, _, port = settings.flower_listen.rpartition(":")
    password = settings.flower_auth.get_secret_value()
    if ":" not in password:
        sys.exit("DSLICE_FLOWER_AUTH must be user:password")
    options.address, options.port = host, int(port)
    options.basic_auth, options.read_only = [password], True
    # Its own gauges of each worker would grow with every restart, and 60,000 tasks took 740 MB (its default: 100,000).
    options.purge_offline_workers = 3600
    options.max_tasks, options.max_workers = 10_000, 1000
    # The one page of numbers that Flower (2.2.0) gives to everybody.
    Metrics.get = authenticated(Metrics.get)
    view = Flower(capp=app, options=options, **pages)

    def stop(signal_number: int, frame: FrameType | None) -> NoReturn:
        del signal_number, frame
        os._exit(0)  # nothing of it is kept, and its threads wait for the broker

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    bound = view.start_http_server()
    _ready(f"{host}:{bound}")
    view.start()


def _at_signals(process: Process) -> None:
    def ready(**_: Any) -> None:
        _ready("worker")

    def heard(**_: Any) -> None:
        process.heard()

    def closing(**_: Any) -> None:
        process.closing()

    def ended(**_: Any) -> None:
        process.stop()

    signals.worker_ready.connect(ready, weak=False)
    signals.task_prerun.connect(heard, weak=False)
    signals.worker_shutting_down.connect(closing, weak=False)
    signals.worker_shutdown.connect(ended, weak=False)


def _serve_metrics(settings: Settings) -> None:
    """Prometheus' page, in a thread of its own, where a setting asks for it: also how a container's health is seen."""
    if settings.metrics_listen:
        metrics.serve_beside(settings.metrics_listen, settings.metrics_token)


def _log(settings: Settings, role: str) -> None:
    # Connected, so that Celery leaves logging alone.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    logs.configure(settings.log_level, role)


def _ready(what: str) -> None:
    sys.stdout.write(f"ready {what}\n")
    sys.stdout.flush()
