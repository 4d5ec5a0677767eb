"""delkey: an SSH key is taken away on every node (docs/howto.md, "Letting people in")."""

from tasks.access import key_task

delkey = key_task("delkey")
