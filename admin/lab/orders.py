"""Orders to remove slivers: signed here, kept by plc, obeyed by nodes, which check each on their own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from admin.lab.reach import Reach
    from trust.identity import Identity
    from trust.orders import Order

AT_ONCE = 200  # orders in one call, each of some 3 KiB


def place(
    reach: "Reach", slice: str, slice_id: UUID, nodes: "Sequence[Identity]", reason: str, *, whole: bool = False
) -> "list[Order]":
    """Have plc hand them out. `whole`: the slice goes from every node, these or not, and its name is given back.

    Raises Refusal.
    """
    why = " ".join(reason.split())
    signed = [reach.order(node, slice, slice_id, why) for node in nodes]
    if whole:
        signed.insert(0, reach.order(None, slice, slice_id, why))
    for start in range(0, len(signed), AT_ONCE):
        tokens = [token for _, token in signed[start : start + AT_ONCE]]
        reach.plc.order(tokens, free=whole and start == 0)
    return [order for order, _ in signed]
