"""Which nodes a request for tickets gets: pure (docs/protocol.md, "POST /tickets")."""

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from trust.errors import Code, Refusal


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node whose advertisement is current.

    Args:
        slots: slivers that it takes in all.
        slots_free: how many more it said it would take.
        promised: other slices that have an open ticket for it.
        own: whether the slice that asks has one already; that is about the same place.
    """

    node: str
    address: str
    site: str
    slots: int
    slots_free: int
    promised: int
    own: bool = False

    @property
    def free(self) -> int:
        """Places for the slice that asks."""
        return self.slots_free - self.promised

    @property
    def load(self) -> float:
        """Share of its slots that is taken or promised, 0 to 1 and beyond."""
        return 1 - (self.free - self.own) / max(self.slots, 1)


def choose(
    candidates: Iterable[Candidate], *, numnodes: int, ips: Sequence[str] = (), exclude: Collection[str] = ()
) -> tuple[Candidate, ...]:
    """Exactly `numnodes` different nodes with a free slot, none of `exclude`.

    With `ips` the first of them that are available, in the list's order; without, the least loaded, spread over sites.

    Raises:
        Refusal: TOO_FEW_NODES, whose detail `available` says how many there were.
    """
    by_address = {found.address: found for found in candidates if found.free > 0 and found.address not in exclude}
    if ips:
        chosen = [by_address[ip] for ip in dict.fromkeys(ips) if ip in by_address]
    else:
        chosen = _spread(by_address.values(), numnodes)
    if len(chosen) < numnodes:
        raise _too_few(len(chosen), numnodes, of_list=bool(ips))
    return tuple(chosen[:numnodes])


def _spread(candidates: Iterable[Candidate], numnodes: int) -> list[Candidate]:
    """From the site with the fewest chosen so far, its least loaded node; the less loaded of equal sites first."""
    sites: defaultdict[str, list[Candidate]] = defaultdict(list)
    for found in candidates:
        sites[found.site].append(found)
    for nodes in sites.values():
        nodes.sort(key=lambda node: (node.load, node.node), reverse=True)
    heap = [(0, nodes[-1].load, nodes[-1].node, site) for site, nodes in sites.items()]
    heapq.heapify(heap)
    chosen: list[Candidate] = []
    while heap and len(chosen) < numnodes:
        taken, _, _, site = heapq.heappop(heap)
        nodes = sites[site]
        chosen.append(nodes.pop())
        if nodes:
            heapq.heappush(heap, (taken + 1, nodes[-1].load, nodes[-1].node, site))
    return chosen


def _too_few(available: int, numnodes: int, *, of_list: bool) -> Refusal:
    advice = "list more nodes or ask for fewer" if of_list else "ask for fewer or try again later"
    listed = " of those listed" if of_list else ""
    return Refusal(
        Code.TOO_FEW_NODES,
        f"too few nodes: {numnodes} asked for, {available}{listed} available, nothing taken; {advice}",
        available=available,
        asked=numnodes,
    )
