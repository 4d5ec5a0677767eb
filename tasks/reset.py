"""reset: VMs get a fresh root file system, and keep their homes and keys (docs/howto.md, "Stopping and starting")."""

from tasks.power import order_task

reset = order_task("reset")
