"""For which step a call is made: a header from the worker to agents and nodes, so that their logs name it too.

It confers nothing and is believed by nobody; what does not look like ids is passed over.
"""

import re
from collections.abc import Mapping

from starlette.types import Scope
from structlog.contextvars import get_contextvars

HEADER = "Dslice-Step"
_NAME = HEADER.lower().encode()
_IDS = re.compile(rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([0-9]{1,18})")


def outgoing() -> Mapping[str, str]:
    """The header for a call that is made now: empty outside a step."""
    about = get_contextvars()
    if "operation" not in about or "step" not in about:
        return {}
    return {HEADER: f"{about['operation']}/{about['step']}"}


def incoming(scope: Scope) -> Mapping[str, str | int]:
    """`operation` and `step` of a request, as logs name them; empty when it does not say."""
    for name, value in scope.get("headers", ()):
        if name == _NAME and (found := _IDS.fullmatch(value)):
            return {"operation": found[1].decode(), "step": int(found[2])}
    return {}
