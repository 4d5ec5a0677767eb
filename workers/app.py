"""The Celery app: required settings, queues, and the beat schedule. svmd imports it before publishing."""

from typing import Any

from celery import Celery
from kombu import Queue as KombuQueue

from models.states import Kind, Queue
from tasks.step import StepsFailedError
from workers.broker import Broker
from workers.settings import Settings

PERIODIC = ("sweep", "autorenew", "deliver", "clean", "notify", "reconcile-all", "canary-all")

# Each of these was a failure once: tests/unit/workers/test_app.py.
REQUIRED: dict[str, Any] = {
    "task_acks_late": True,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_hijack_root_logger": False,
    "worker_send_task_events": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        "visibility_timeout": 600,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "queue_order_strategy": "priority",  # the queues in the order in which the worker names them
    },
    "task_create_missing_queues": False,
    "task_default_queue": Queue.HOUSEKEEPING,
    # A step that failed is written down: that its message ends so is for Flower, and no error of the worker's.
    "task_annotations": {"*": {"throws": (StepsFailedError,)}},
    "enable_utc": True,
    "timezone": "UTC",
}


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat only starts tasks: each looks for due rows in PostgreSQL, so a late, missing or doubled start does no harm.

    A message that nobody took in time is dropped. The sweep has the first queue: it frees what users wait for.
    """
    every = {
        "sweep": (settings.sweep, Queue.INTERACTIVE),
        "autorenew": (settings.autorenew, Queue.RENEWALS),
        "deliver": (settings.deliver, Queue.HOUSEKEEPING),
        "clean": (settings.clean, Queue.HOUSEKEEPING),
        "notify": (settings.notify, Queue.HOUSEKEEPING),
        "reconcile-all": (settings.reconcile, Queue.HOUSEKEEPING),
        "canary-all": (settings.canary, Queue.HOUSEKEEPING),
    }
    return {
        name: {"task": name, "schedule": float(seconds), "options": {"queue": queue, "expires": seconds}}
        for name, (seconds, queue) in every.items()
    }


def make_app(settings: Settings) -> Celery:
    """An app for these settings, made the default one of this process, in every thread."""
    made = Celery("dslice", broker=settings.broker_url.get_secret_value(), set_as_current=False, amqp=Broker)
    made.conf.update(
        **REQUIRED,
        task_queues=[KombuQueue(name) for name in Queue],
        beat_schedule=schedule(settings),
        imports=[f"tasks.{name}" for name in (*Kind, "sweep", "autorenew", "deliver", "clean", "notify")],
    )
    made.set_default()  # for every thread
    made.set_current()  # for this one, whatever app it had before
    return made


app = make_app(Settings.load())
