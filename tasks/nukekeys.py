"""nukekeys: all SSH keys are taken away on every node (docs/howto.md, "Letting people in")."""

from tasks.access import key_task

nukekeys = key_task("nukekeys")
