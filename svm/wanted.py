"""A slice file's content from a number of nodes, or their addresses, and hours: for `dslice` and for dslice.toml."""

from collections.abc import Sequence

from svm.slicefile import MAX_LEASELEN, MAX_NODES, SliceFile, check_ips, positive
from trust.errors import Code, Refusal
from trust.names import check_slice_name


def wanted(name: str, nodes: int | Sequence[str], hours: float) -> SliceFile:
    """Checked as the file is. Raises Refusal(BAD_INPUT)."""
    check_slice_name(name)
    if isinstance(nodes, str):
        raise Refusal(Code.BAD_INPUT, "nodes is a text; give a number, or a list of addresses")
    ips = () if isinstance(nodes, int) else check_ips(list(nodes))
    number = nodes if isinstance(nodes, int) else len(ips)
    leaselen = positive("the length of a lease in seconds", str(round(hours * 3600)), MAX_LEASELEN)
    return SliceFile(name, positive("nodes", str(number), MAX_NODES), leaselen, ips)
