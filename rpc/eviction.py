"""Who has to go when strangers fill the room at one door: a newcomer gets in, and the oldest of the crowd leaves.

Whoever only holds a place open cannot keep others out, for the next newcomer takes it; and the places are taken from
the source that has the most, so that a crowd from few addresses displaces itself and not those who came alone.
"""

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

HOST_BITS = 64  # of an IPv6 address: whoever has one address has the whole /64 (RFC 4291, section 2.5.4)


def source_of(address: str) -> str:
    """Whom to count a peer's address as: an IPv4 address as itself, mapped into IPv6 or not; an IPv6 one as its /64.

    What is no IP address (a UNIX socket's peer, say) counts as itself.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> HOST_BITS << HOST_BITS)}/{128 - HOST_BITS}"


def leaver(strangers: Sequence[str], newcomer: str, *, most: int, most_per_source: int) -> int | None:
    """Which stranger leaves so that one more may come in; None when there is room for both.

    Args:
        strangers: the source (`source_of`) of each stranger who is there, the oldest first.
        newcomer: the source of the one who comes; not among them yet.
        most, most_per_source: how many strangers there may be with the newcomer, in all and from one source; 1 or more.

    Returns:
        Place in `strangers`: of the newcomer's own source when that has its share, else of the source with the most.
        Among equals, and within the source, the oldest.
    """
    counts = Counter(strangers)
    if counts[newcomer] >= most_per_source:
        return strangers.index(newcomer)
    if len(strangers) < most:
        return None
    largest = max(counts.values())
    return next(place for place, source in enumerate(strangers) if counts[source] == largest)
