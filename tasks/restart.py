"""restart: VMs are stopped and started (docs/howto.md, "Stopping and starting")."""

from tasks.power import order_task

restart = order_task("restart")
