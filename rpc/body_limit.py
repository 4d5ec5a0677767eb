"""What stands before every app: whole bodies only, bounded in size and time, and streams that end at shutdown."""

import asyncio
import logging
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from rpc import counting, problems, wellformed
from rpc.tracing import incoming
from trust.errors import Code, Refusal, printable

MAX_BODY = 1024 * 1024  # bytes
BODY_SECONDS = 30
EVENT_STREAM = b"text/event-stream"
STATUS = "dslice.status"  # the key in the ASGI scope: of the answer

log = logging.getLogger(__name__)


class TooLarge(Refusal):
    """A body that is longer than any of ours."""


class BodyLimit:
    """ASGI wrapper around one app. It reads the body before the app runs, so that no app waits for a slow one."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.streams: set[asyncio.Task[Any]] = set()
        self.ending = False

    def end_streams(self) -> None:
        """Event streams have no end of their own: the server would wait for their readers to leave."""
        self.ending = True
        for task in self.streams:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _whole_body(receive)
            if body is not None:
                wellformed.check_head(scope)
                wellformed.check_body(body)
        except TimeoutError:
            refusal = Refusal(Code.TIMEOUT, f"the body of the request did not come within {BODY_SECONDS} s; try again")
            return await _refuse(scope, send, refusal, 408)
        except TooLarge as refusal:
            return await _refuse(scope, send, refusal, 413)
        except Refusal as refusal:
            return await _refuse(scope, send, refusal, problems.STATUS[refusal.code])
        if body is not None:
            about = incoming(scope)
            with bound_contextvars(**about):
                await self._serve(scope, _Rest(body, receive), send)
                if about:
                    _tell(scope)
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        task, complete = asyncio.current_task(), False
        assert task is not None  # noqa: S101 - uvicorn runs every request in a task

        async def watched(message: Message) -> None:
            nonlocal complete
            await send(message)
            if message["type"] == "http.response.start":
                scope[STATUS] = message["status"]
                counting.count(scope, message["status"])
            if message["type"] == "http.response.start" and _is_stream(message):
                self.streams.add(task)
                if self.ending:  # it began after the others were ended
                    task.cancel()
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:
            if not (self.ending and task in self.streams):
                raise
            task.uncancel()
            if not complete:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.streams.discard(task)


def _tell(scope: Scope) -> None:
    """One line for a call of somebody's request or step, with the ids that are bound now."""
    path = printable(scope["path"]) if "route" in scope else counting.OTHER
    log.info("%s %s: %s", scope["method"], path, scope.get(problems.CODE) or scope.get(STATUS, "broken off"))


class _Rest:
    """``receive`` for the app: the body at once, then what else the server says (that the client has gone)."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.body: bytes | None = body
        self.receive = receive

    async def __call__(self) -> Message:
        if self.body is None:
            return await self.receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _whole_body(receive: Receive) -> bytes | None:
    """The body; None if the client left meanwhile. TooLarge beyond 1 MiB.

    What is too large is read to its end all the same (rpc/connection.py bounds it): a client that still sends would
    see a broken connection instead of the refusal.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if size <= MAX_BODY:
            pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    if size > MAX_BODY:
        raise TooLarge(Code.BAD_INPUT, f"the body of the request is larger than {MAX_BODY} bytes; send less")
    return b"".join(pieces)


def _is_stream(message: Message) -> bool:
    headers = dict(message.get("headers", ()))
    return bytes(headers.get(b"content-type", b"")).startswith(EVENT_STREAM)


async def _refuse(scope: Scope, send: Send, refusal: Refusal, status: int) -> None:
    scope[problems.CODE] = refusal.code
    counting.count(scope, status)
    body = problems.to_bytes(refusal, status)
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
