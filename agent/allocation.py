"""Which nodes a request for tickets gets: pure (docs/protocol.md, "POST /tickets")."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from trust.errors import Code, Refusal
from trust.needs import NOTHING, Needs


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node whose advertisement is current.

    Args:
        slots: slivers that it takes in all.
        slots_free: how many more it said it would take.
        promised: other slices that have an open ticket for it.
        own: whether the slice that asks has one already; that is about the same place.
        memory_free_mb, disk_mb: that it said it has not promised yet; None where nobody counts the disk.
        sliver_mb: memory of a sliver that does not say what it needs; None for a node that knows of no needs.
        most_processes: of a sliver.
        plain: how many of those promised do not say how much memory they need.
        memory_promised_mb, disk_promised_mb: of those that do.
        digest: of the image that is asked for; None where it has none of that name.
    """

    node: str
    address: str
    site: str
    slots: int
    slots_free: int
    promised: int
    own: bool = False
    memory_free_mb: int = 0
    sliver_mb: int | None = None
    most_processes: int | None = None
    disk_mb: int | None = None
    plain: int = 0
    memory_promised_mb: int = 0
    disk_promised_mb: int = 0
    digest: str | None = None

    @property
    def free(self) -> int:
        """Places for the slice that asks, if it needs nothing."""
        places = self.slots_free - self.promised
        return places if self.sliver_mb is None else min(places, self.memory_mb // self.sliver_mb)

    @property
    def load(self) -> float:
        """Share of its slots that is taken or promised, 0 to 1 and beyond."""
        return 1 - (self.free - self.own) / max(self.slots, 1)

    @property
    def memory_mb(self) -> int:
        """Memory that is neither promised nor taken, MiB."""
        return self.memory_free_mb - self.memory_promised_mb - self.plain * (self.sliver_mb or 0)

    def holds(self, needs: Needs) -> bool:
        """Whether there is a place for a sliver that has these needs."""
        if not needs:
            return self.free > 0
        disk = None if self.disk_mb is None else self.disk_mb - self.disk_promised_mb
        return (
            self.sliver_mb is not None
            and self.slots_free > self.promised
            and self.memory_mb >= (needs.memory_mb or self.sliver_mb)
            and (needs.disk_mb is None or disk is None or disk >= needs.disk_mb)
            and (needs.processes or 0) <= (self.most_processes or 0)
            and (needs.image is None or self.digest is not None)
            and needs.digest in (None, self.digest)
        )


def choose(
    candidates: Iterable[Candidate],
    *,
    numnodes: int,
    ips: Sequence[str] = (),
    exclude: Collection[str] = (),
    needs: Needs = NOTHING,
) -> tuple[Candidate, ...]:
    """Exactly `numnodes` different nodes with a place for what the slice needs, none of `exclude`.

    With `ips` the first of them that are available, in the list's order; without, the least loaded, spread over sites.
    Where an image is asked for and no digest, all have that which most of them have.

    Raises:
        Refusal: TOO_FEW_NODES, whose detail `available` says how many there were.
    """
    listed = dict.fromkeys(ips)
    open_ = [one for one in candidates if one.address not in exclude and (not ips or one.address in listed)]
    needs = _one_digest(open_, needs)
    by_address = {one.address: one for one in open_ if one.holds(needs)}
    if len(by_address) < numnodes:
        places = [one for one in open_ if one.holds(NOTHING)]
        raise _too_few(places, len(by_address), numnodes, needs, of_list=bool(ips))
    chosen = [by_address[ip] for ip in listed if ip in by_address] if ips else _spread(by_address.values(), numnodes)
    return tuple(chosen[:numnodes])


def _one_digest(candidates: Iterable[Candidate], needs: Needs) -> Needs:
    """With the digest that most of those have which would do; as it is where none would."""
    found = Counter(one.digest for one in candidates if one.digest is not None and one.holds(needs))
    return needs.of_digest(max(found, key=lambda digest: (found[digest], digest), default=None))


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


def _too_few(places: Sequence[Candidate], available: int, numnodes: int, needs: Needs, *, of_list: bool) -> Refusal:
    advice = "list more nodes or ask for fewer" if of_list else "ask for fewer or try again later"
    listed = " of those listed" if of_list else ""
    there = f"{available}{listed} available"
    if needs and len(places) > available:
        there = f"{available}{listed} {'has' if available == 1 else 'have'} {_lacking(places, numnodes, needs)}"
        advice = "ask for less or for fewer nodes; svm getads --long shows what there is"
    return Refusal(
        Code.TOO_FEW_NODES,
        f"too few nodes: {numnodes} asked for, {there}, nothing taken; {advice}",
        available=available,
        asked=numnodes,
    )


def _lacking(places: Sequence[Candidate], numnodes: int, needs: Needs) -> str:
    """Which of the needs too few of these nodes meet: those that fail by themselves, or else all of them together."""
    words = {
        "memory_mb": f"{needs.memory_mb or 0:,} MiB of memory free",
        "disk_mb": f"{needs.disk_mb or 0:,} MiB of disk free",
        "processes": f"{needs.processes or 0:,} processes for a sliver",
        "image": f"the image {needs.image}",
    }
    said = [name for name in words if getattr(needs, name) is not None]
    alone = {name: Needs(**{name: getattr(needs, name)}) for name in said}
    if needs.image is not None:
        alone["image"] = Needs(image=needs.image, digest=needs.digest)
    short = [name for name in said if sum(one.holds(alone[name]) for one in places) < numnodes] or said
    return " and ".join(words[name] for name in short) or "what it needs"
