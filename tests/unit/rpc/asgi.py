"""Calls an ASGI app in memory, as uvicorn would."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rpc.guard import PEER


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    complete: bool = False

    @property
    def body(self) -> Any:
        return json.loads(self.data)


async def ask(
    app: Any,
    method: str,
    path: str,
    *,
    pieces: Sequence[bytes] = (b"",),
    headers: Mapping[str, str] | None = None,
    peer: bytes | None = None,
    gone: bool = False,
) -> Answer:
    """The answer; ``pieces`` are the body as it arrives, and with ``gone`` the client leaves after them."""
    path, _, query = path.partition("?")
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if not gone:
        waiting[-1]["more_body"] = False
    waiting.append({"type": "http.disconnect"})
    answer = Answer()

    async def receive() -> Any:
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.data += message.get("body", b"")
            answer.complete = not message.get("more_body", False)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(n.lower().encode(), v.encode()) for n, v in {"host": "x", **(headers or {})}.items()],
        "scheme": "https",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
        "state": {},
        PEER: peer,
    }
    await app(scope, receive, send)
    return answer
