"""The points of a request: heard; before and after each commit, each call that it makes, and its answer.

A request is named by its method and the words of its path, `PUT slivers access`. One that only reads has no points.
"""

from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.faults.crashing import die

HEARD, BEFORE_ANSWER, ANSWERED = "heard", "before the answer", "answered"

_request: ContextVar[tuple[str, "dict[str, count[int]]"] | None] = ContextVar("request", default=None)


def commits(*numbers: int) -> tuple[str, ...]:
    """The points of these commits."""
    return tuple(f"{when} commit {number}" for number in numbers for when in ("before", "after"))


def calls(what: str, *numbers: int) -> tuple[str, ...]:
    """The points of these calls."""
    return tuple(f"{when} {what} {number}" for number in numbers for when in ("before", "after"))


def dying(app: ASGIApp) -> ASGIApp:
    """The application, with deaths at what every request has."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET":
            await app(scope, receive, send)
            return
        name = " ".join([scope["method"], *scope["path"].split("/")[1::2]])

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                die(f"{name}, {BEFORE_ANSWER}")
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                die(f"{name}, {ANSWERED}")

        _request.set((name, {}))
        die(f"{name}, {HEARD}")
        await app(scope, receive, answer)

    return serve


def around(what: str, whole: Callable[..., Any]) -> Callable[..., Any]:
    """A function that dies before and after what `whole` does, when a request has it do so: 1st, 2nd, … time."""

    def act(*args: Any, **named: Any) -> Any:
        point = _point(what)
        point("before")
        came = whole(*args, **named)
        point("after")
        return came

    return act


def around_waiting(what: str, whole: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a coroutine function."""

    async def act(*args: Any, **named: Any) -> Any:
        point = _point(what)
        point("before")
        came = await whole(*args, **named)
        point("after")
        return came

    return act


def _point(what: str) -> Callable[[str], None]:
    request = _request.get()
    if request is None:
        return lambda when: None
    name, times = request
    number = next(times.setdefault(what, count(1)))
    return lambda when: die(f"{name}, {when} {what} {number}")
