"""The calls of a simulated node, one JSON line when each was heard and one when it was answered, for who checks them.

No secret is written: of a ticket what it is for, of keys their digests, of a lease its generation and its end. Times
are seconds of this machine's monotonic clock, which all its processes share.
"""

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodemgr.node import Node

FILE = "calls.jsonl"
REQUEST = ("slice_id", "generation", "from_generation", "jti")
ANSWER = ("slice_id", "generation", "key_generation", "expires_at", "state", "code")


def recorded(app: ASGIApp, node: Node, folder: Path) -> ASGIApp:
    """The application of a node, whose calls stand in `folder`/calls.jsonl from now on."""
    numbers, write = count(1), partial(_write, folder / FILE)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await app(scope, receive, send)
            return
        number, asked, answer, status = next(numbers), bytearray(), bytearray(), 0

        async def hear() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body"):
                write(heard=number, method=scope["method"], path=scope["path"], **_asked(bytes(asked)))
            return message

        async def say(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            answer.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # Before the caller can know of it.
                write(answered=number, status=status, now=node.now().timestamp(), **_answered(bytes(answer)))
            await send(message)

        if scope["method"] == "GET":  # its body is not read
            write(heard=number, method="GET", path=scope["path"])
        await app(scope, receive if scope["method"] == "GET" else hear, say)

    write(started=True)
    return serve


def _write(to: Path, /, **line: Any) -> None:
    with suppress(OSError), to.open("a") as file:  # a full disk is no trouble of the node's own
        file.write(json.dumps({"at": time.monotonic(), **line}) + "\n")


def slice_keys(lines: list[str]) -> list[str]:
    """A set of public keys, by digests."""
    return sorted({hashlib.sha256(line.split()[1].encode()).hexdigest()[:16] for line in lines})


def _asked(data: bytes) -> dict[str, Any]:
    body = _object(data)
    found = {name: body[name] for name in REQUEST if name in body}
    if isinstance(body.get("keys"), list):
        found["keys"] = slice_keys(body["keys"])
    if isinstance(body.get("ticket"), str):
        found["ticket"] = _claims(body["ticket"])
    return found


def _answered(data: bytes) -> dict[str, Any]:
    body = _object(data)
    found = {name: body[name] for name in ANSWER if name in body}
    if isinstance(body.get("slivers"), list):
        found["slivers"] = [{name: item[name] for name in ("slice", *ANSWER[:-1])} for item in body["slivers"]]
    return found


def _claims(token: str) -> dict[str, Any]:
    """Name, registration and id of a ticket, without a look at its signature."""
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return {name: claims.get(name) for name in ("slice", "slice_id", "jti")}


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
