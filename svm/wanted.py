"""A slice file's content from a number of nodes, or their addresses, and hours: for `dslice` and for dslice.toml."""

from collections.abc import Mapping, Sequence
from typing import Any

from svm.slicefile import MAX_LEASELEN, MAX_NODES, NEEDS, SliceFile, check_ips, needs_of, positive
from trust.errors import Code, Refusal, printable
from trust.names import check_slice_name


def wanted(
    name: str, nodes: int | Sequence[str], hours: float, needs: Mapping[str, int | str] | None = None
) -> SliceFile:
    """Checked as the file is; `needs` by its words. Raises Refusal(BAD_INPUT)."""
    check_slice_name(name)
    if isinstance(nodes, str):
        raise Refusal(Code.BAD_INPUT, "nodes is a text; give a number, or a list of addresses")
    ips = () if isinstance(nodes, int) else check_ips(list(nodes))
    number = nodes if isinstance(nodes, int) else len(ips)
    leaselen = positive("the length of a lease in seconds", str(round(hours * 3600)), MAX_LEASELEN)
    unknown = [word for word in needs or () if word not in (*NEEDS, "image")]
    if unknown:
        known = ", ".join((*NEEDS, "image"))
        raise Refusal(Code.BAD_INPUT, f"'{printable(unknown[0], 40)}' is nothing that a VM has; known are {known}")
    said = needs_of({word: str(value) for word, value in (needs or {}).items()})
    return SliceFile(name, positive("nodes", str(number), MAX_NODES), leaselen, ips, said)


def has(found: Mapping[str, Any], file: SliceFile) -> bool:
    """Whether a slice, as svmd tells it, has what `file` says of its VMs; what that does not say is as it is."""
    there = found.get("needs") or {}
    return all(there.get(word) == said for word, said in file.needs.to_json().items())
