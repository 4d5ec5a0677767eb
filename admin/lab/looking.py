"""svmd looks at nodes at once after what the operator had them do, and not with its next round."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trust.errors import Refusal

if TYPE_CHECKING:
    from admin.lab.reach import Reach
    from plc.client.orders import Enrolled

HEARD_SECONDS = 45  # that it waits until a node has heard of its drain; nodes look every 20 s
ROUND_SECONDS = 20  # that it waits for a round under way
PAUSE = 0.5  # seconds between two tries


def look(reach: "Reach", nodes: Sequence[str]) -> bool:
    """Have svmd look at these nodes (names); False where the next round has to do. Raises nothing: they have obeyed."""
    end = time.monotonic() + ROUND_SECONDS
    try:
        while not reach.look(nodes):
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE)
    except Refusal:  # no svmd, one of an earlier version, or none that answers now
        return False
    return True


def look_once_leaving(reach: "Reach", node: "Enrolled") -> bool:
    """Wait until a node says that it is to be empty, then have svmd look; False where the next round has to do."""
    from admin.lab.holding import leaving

    end = time.monotonic() + HEARD_SECONDS
    try:
        while not leaving(reach, node):
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE)
    except Refusal:  # it is away, or of an earlier version
        return False
    return look(reach, [node.name])
