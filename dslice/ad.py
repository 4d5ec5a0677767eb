"""Nodes as agents advertise them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ad:
    """A node that could be had.

    Args:
        address: its IP address.
        name: as in its certificate.
        site: whose it is.
        slots_free, slots: how many slivers it would still take, of how many in all.
        simulated: nobody can log in there.
        facts: all that is advertised, by svmd's names.
    """

    address: str
    name: str
    site: str
    agent: str
    slots_free: int
    slots: int
    simulated: bool
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Ad":
        """One of `GET /ads`."""
        return cls(
            address=told["address"],
            name=told["node"],
            site=told["site"],
            agent=told["agent"],
            slots_free=told["slots_free"],
            slots=told["slots"],
            simulated=told["simulated"],
            facts=told,
        )
