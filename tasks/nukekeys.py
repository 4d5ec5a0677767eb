"""nukekeys: all SSH keys are taken away on every node (docs/howto.md, "Letting people in")."""

from celery import shared_task

from tasks.access import push_keys
from tasks.step import perform


@shared_task(name="nukekeys")
def nukekeys(ids: list[int]) -> None:
    """These steps."""
    perform(ids, push_keys)
