"""addkey: SSH keys for a slice's users, on every node (docs/howto.md, "Letting people in")."""

from tasks.access import key_task

addkey = key_task("addkey")
