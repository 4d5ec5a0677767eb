"""How a slice stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dslice.node import Node

if TYPE_CHECKING:
    from dslice.slice import Slice


@dataclass(frozen=True, slots=True)
class Status:
    """A slice at one moment.

    Args:
        now: that moment, by svmd's clock.
        state: `open`, or `deleting` while a node may still hold a VM of it.
        running, wanted: how many nodes run, of how many that were asked for.
        ends: the first end among its leases; None: it has none.
        lease: the length of a lease in seconds.
        autorenew, heal: whether svmd renews its leases, and replaces nodes that fall silent.
        keys: SSH public keys that open it.
        nodes: each of its nodes, in whatever state.
        facts: all that svmd says of it.
    """

    name: str
    now: datetime
    state: str
    running: int
    wanted: int
    ends: datetime | None
    lease: int
    autorenew: bool
    heal: bool
    keys: tuple[str, ...]
    nodes: tuple[Node, ...]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, slice: "Slice", found: dict[str, Any]) -> "Status":
        """Of the body of `GET /slices/{name}`."""
        return cls(
            name=found["name"],
            now=datetime.fromisoformat(found["now"]),
            state=found["state"],
            running=found["nodes"].get("running", 0),
            wanted=found["numnodes"],
            ends=datetime.fromisoformat(found["first_end"]) if found["first_end"] else None,
            lease=found["leaselen"],
            autorenew=found["autorenew"],
            heal=found["heal"],
            keys=tuple(found["keys"]),
            nodes=tuple(Node.of(slice, each) for each in found["slivers"]),
            facts=found,
        )

    @property
    def complete(self) -> bool:
        """Whether all the nodes that were asked for run."""
        return self.state == "open" and self.running >= self.wanted

    def __str__(self) -> str:
        return f"{self.name}: {self.state}, {self.running} of {self.wanted} running"

    def _repr_html_(self) -> str:
        from dslice.shown import status_html

        return status_html(self)
