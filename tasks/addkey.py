"""addkey: SSH keys for a slice's users, on every node (docs/howto.md, "Letting people in")."""

from celery import shared_task

from tasks.access import push_keys
from tasks.step import perform


@shared_task(name="addkey")
def addkey(ids: list[int]) -> None:
    """These steps."""
    perform(ids, push_keys)
