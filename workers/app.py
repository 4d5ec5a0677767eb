"""The Celery app: settings that STACK.md requires, queues, and the beat schedule. svmd imports it before publishing."""

from celery import Celery
from kombu import Queue as KombuQueue

from models.states import Queue
from workers.settings import Settings

TASKS = ("newtickets", "newleases", "newvms", "addkey", "delkey", "nukekeys", "renew", "delete")
PERIODIC = ("sweep", "autorenew", "clean", "reconcile")


def configure(settings: Settings) -> Celery:
    """An app for these settings, made the default one of this process, in every thread."""
    made = Celery("dslice", broker=settings.broker_url, set_as_current=False)
    made.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=True,
        task_send_sent_event=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 600,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "queue_order_strategy": "priority",
        },
        task_queues=[KombuQueue(name) for name in Queue],
        task_default_queue=Queue.HOUSEKEEPING,
        task_create_missing_queues=False,
        enable_utc=True,
        timezone="UTC",
        imports=[f"tasks.{name}" for name in (*TASKS, *PERIODIC)],
    )
    made.set_default()
    return made


app = configure(Settings())
