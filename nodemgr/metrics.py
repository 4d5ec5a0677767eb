"""What a node says in numbers, for Prometheus; its calls stand among the requests (`rpc/counting.py`)."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nodemgr.node import Node

# Upper ends, in seconds, of the classes in which leases are counted by the time that is left.
LEFT = (3600.0, 86_400.0, 3 * 86_400.0, 7 * 86_400.0, float("inf"))
STATES = ("leased", "creating", "running")


class NodeCollector(Collector):
    """Gauges of the nodes of one process, read from their stores at each scrape; one that is closed yields none."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called at each scrape, in a thread."""
        found = _families()
        for node in self._nodes:
            try:
                _measure(node, *found)
            except (sqlite3.Error, OSError):
                continue
        yield from found

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing, so that registering reads no store."""
        return []


def _families() -> tuple[GaugeMetricFamily, ...]:
    return (
        GaugeMetricFamily("dslice_node_slots", "Places for slivers", labels=["node"]),
        GaugeMetricFamily("dslice_node_slots_used", "Places promised, used or not yet free again", labels=["node"]),
        GaugeMetricFamily("dslice_node_sessions", "Connections logged in at the front door", labels=["node"]),
        GaugeMetricFamily("dslice_node_slivers", "Leases by state of their sliver", labels=["node", "state"]),
        GaugeMetricFamily("dslice_node_disk_free_bytes", "Free on the disk of its slivers", labels=["node"]),
        GaugeMetricFamily("dslice_node_disk_full", "1 while it takes no new sliver for want of room", labels=["node"]),
        GaugeMetricFamily("dslice_node_unwritten", "Statements done and not yet on its disk", labels=["node"]),
        GaugeMetricFamily("dslice_node_leases", "Leases with at most le seconds left", labels=["node", "le"]),
    )


def _measure(
    node: Node,
    slots: GaugeMetricFamily,
    used: GaugeMetricFamily,
    sessions: GaugeMetricFamily,
    slivers: GaugeMetricFamily,
    free: GaugeMetricFamily,
    full: GaugeMetricFamily,
    unwritten: GaugeMetricFamily,
    leases: GaugeMetricFamily,
) -> None:
    name, now, held, taken = node.identity.name, node.now(), node.store.leases(), node.store.taken()
    slots.add_metric([name], node.capacity.slots)
    used.add_metric([name], taken)
    sessions.add_metric([name], node.sessions.logged_in() if node.sessions else 0)
    if node.disk is not None:
        free.add_metric([name], node.disk.free_mb << 20)
    full.add_metric([name], node.disk_full)
    unwritten.add_metric([name], node.store.owed)
    states = Counter(lease.state for lease in held)
    for state in STATES:
        slivers.add_metric([name, state], states[state])
    left = [(lease.expires_at - now).total_seconds() for lease in held]
    for end in LEFT:
        leases.add_metric([name, "+Inf" if end == LEFT[-1] else f"{end:.0f}"], sum(0 < value <= end for value in left))
