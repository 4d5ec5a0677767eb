"""From a lease to the sliver that a driver is to make: what the slice needs, else what the node gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodemgr.slicekey import SlicePair, check_pair
from nodemgr.slivers.drivers.driver import SliverSpec
from nodemgr.storage.store import LeaseRow
from trust.needs import ORDINARY_CPU

if TYPE_CHECKING:
    from nodemgr.node import Node


def spec_of(node: Node, lease: LeaseRow, given: SlicePair) -> SliverSpec:
    """Raises Refusal: BAD_INPUT for a key pair that is none, OVER_CAPACITY when the image is not here any more."""
    public_key, needs = check_pair(given.private_key, given.public_key), lease.needs
    return SliverSpec(
        slice=lease.slice,
        slice_id=lease.slice_id,
        hostname=node.identity.name,
        memory_mb=needs.memory_mb or node.capacity.sliver_mb,
        processes=needs.processes or node.capacity.processes,
        private_key=given.private_key,
        public_key=public_key.line,
        disk_mb=needs.disk_mb or node.capacity.sliver_disk_mb or None,
        cpu=needs.cpu or ORDINARY_CPU,
        image=node.images.find(needs, node.driver),
    )
