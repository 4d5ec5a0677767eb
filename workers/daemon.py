"""`dslice run worker|beat|flower`: one daemon in the foreground, settings from the environment.

Each prints one line, `ready …`, when it is at work; logs go to stderr as JSON lines.
"""

import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial

from celery import signals
from celery.beat import Service
from celery.exceptions import SecurityWarning

from rpc import metrics
from rpc.daemon import ready, start
from rpc.health import PATH, Health
from rpc.settings import split_host_port
from rpc.sockets import binding
from trust.errors import Code, Refusal
from workers.app import app
from workers.broker import trouble
from workers.process import Process
from workers.republisher import Connected
from workers.scheduler import MemoryScheduler
from workers.settings import Settings

signals.setup_logging.connect(lambda **_: None, weak=False)  # connected, so that Celery leaves logging alone


def main_worker() -> None:
    """A worker: a pool of threads, one loop, one writer. SIGTERM: what is at work is finished, within 45 s."""
    start("worker", Settings, _worker, ("database_url", "broker_url", "state_dir", "plc_url"))


def main_beat() -> None:
    """Beat, Celery's own. Two of them do no harm."""
    start("beat", Settings, _beat, ("broker_url",))


def main_flower() -> None:
    """Flower: read-only, with a password, on loopback. A view, never evidence."""
    start("flower", Settings, _flower, ("broker_url", "flower_auth"))


def _worker(settings: Settings) -> None:
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
    signals.worker_ready.connect(lambda **_: ready("worker"), weak=False)
    signals.task_prerun.connect(lambda **_: process.heard(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: process.closing(), weak=False)
    signals.worker_shutdown.connect(lambda **_: process.stop(), weak=False)
    health = Health(process.looks, broker=partial(trouble, app))
    metrics.serve_beside(settings.metrics_listen, settings.metrics_token, health=health)
    process.start()
    worker.start()
    sys.exit(worker.exitcode)


def _beat(settings: Settings) -> None:
    service = Service(app, scheduler_cls=MemoryScheduler, max_interval=5)
    _when_told_to_stop(sys.exit)
    health = Health(broker=partial(trouble, app))
    metrics.serve_beside(settings.metrics_listen, settings.metrics_token, health=health)
    signals.beat_init.connect(lambda **_: ready("beat"), weak=False)  # its schedule is made
    service.start()


def _flower(settings: Settings) -> None:
    from flower.app import Flower
    from flower.options import default_options as options
    from flower.urls import settings as pages
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    host, port = split_host_port(settings.flower_listen)
    password = settings.flower_auth.get_secret_value()
    if ":" not in password:
        raise Refusal(Code.BAD_INPUT, "DSLICE_FLOWER_AUTH must be user:password")
    options.address, options.port = host, port
    options.basic_auth, options.read_only = [password], True
    # Its own gauges of each worker would grow with every restart, and 60,000 tasks took 740 MB (its default: 100,000).
    options.purge_offline_workers = 3600
    options.max_tasks, options.max_workers = 10_000, 1000
    # The one page of numbers that Flower (2.2.0) gives to everybody.
    Metrics.get = authenticated(Metrics.get)
    view = Flower(capp=app, options=options, **pages)
    view.add_handlers(".*", [(PATH, _healthz(Health(broker=partial(trouble, app))))])
    _when_told_to_stop(os._exit)  # nothing of it is kept, and its threads wait for the broker
    with binding(host, port, "DSLICE_FLOWER_LISTEN"):
        ready(host, view.start_http_server())
    view.start()


def _healthz(health: Health) -> type:
    """Flower's page of that name, for everybody."""
    from tornado.ioloop import IOLoop
    from tornado.web import RequestHandler

    class Healthz(RequestHandler):
        async def get(self) -> None:
            status, body = await IOLoop.current().run_in_executor(None, health.answer)
            self.set_status(status)
            self.write(body)

    return Healthz


def _when_told_to_stop(end: Callable[[int], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end(0))
