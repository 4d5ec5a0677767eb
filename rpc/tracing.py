"""For which request and which step a call is made: headers, so that the logs of all daemons name them alike.

`svm` makes up the id of a request and sends it to svmd, which keeps it with the operation; the worker that does a step
sends it on to agents and nodes, with the ids of operation and step. They confer nothing and are believed by nobody;
what does not look like ids is passed over.
"""

import re
from collections.abc import Mapping

from starlette.types import Scope
from structlog.contextvars import get_contextvars

from rpc.reply import REQUEST

HEADER = "Dslice-Step"
_STEP_NAME, _REQUEST_NAME = HEADER.lower().encode(), REQUEST.lower().encode()
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_IDS = re.compile(rf"({_UUID})/([0-9]{{1,18}})".encode())
_ID = re.compile(_UUID)


def outgoing() -> Mapping[str, str]:
    """The headers for a call that is made now: empty where it is for no request and no step."""
    about, found = get_contextvars(), dict[str, str]()
    if "request" in about:
        found[REQUEST] = str(about["request"])
    if "operation" in about and "step" in about:
        found[HEADER] = f"{about['operation']}/{about['step']}"
    return found


def incoming(scope: Scope) -> Mapping[str, str | int]:
    """`request`, `operation` and `step` of a call, as logs name them; empty when it does not say."""
    about = dict[str, str | int]()
    for name, value in scope.get("headers", ()):
        if name == _STEP_NAME and (found := _IDS.fullmatch(value)):
            about |= {"operation": found[1].decode(), "step": int(found[2])}
        elif name == _REQUEST_NAME:
            about |= request_of(value.decode("latin-1"))
    return about


def request_of(key: str | None) -> Mapping[str, str]:
    """`request` for the log, of what may be the id of one: a client's Idempotency-Key is any text."""
    return {"request": key} if key and _ID.fullmatch(key) else {}
