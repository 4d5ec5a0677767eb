"""`dslice fault`: how simulated nodes behave from now on, through the sockets of their processes."""

from testbed.daemons import simulated_groups
from testbed.home import Home, HomeError
from testbed.simulation.control import set_fault

EVERYONE = "all"


def inject(home: Home, node: str, fault: str) -> list[str]:
    """Set one node's fault (by address or name), or everyone's; the lines that say what was done.

    HomeError for a node that is not simulated or not there; Refusal for a fault that is none.
    """
    groups = simulated_groups(home.plan())
    meant = [name for name, nodes in groups if node == EVERYONE or any(node in (n.name, n.address) for n in nodes)]
    if not meant:
        raise HomeError(f"{node[:60]} is not a simulated node of this testbed; 'dslice up --simulated M' starts some")
    return [set_fault(home.socket(f"{name}.sock"), node, fault) for name in meant]
