"""start: VMs that do not run are started (docs/howto.md, "Stopping and starting")."""

from tasks.power import order_task

start = order_task("start")
