"""stop: VMs are stopped, and keep their places, files and leases (docs/howto.md, "Stopping and starting")."""

from tasks.power import order_task

stop = order_task("stop")
