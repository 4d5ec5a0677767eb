"""An app for services that are asked very often: a table of calls, each with its guard, and nothing else around them.

FastAPI's layers take longer than what a node manager does for a call (docs/adr/0024-a-node-without-a-web-framework.md).
Errors leave as they do from ``rpc.server.application``; bodies are checked by the same pydantic models.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope, Send

from rpc import problems
from rpc.guard import RoleGuard
from trust.errors import Code, Refusal
from trust.peers import Peer

JSON = re.compile(r"application/(?:[a-z.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Args:
        names: what stands in the path where the route has ``{name}``.
        peer: who calls; None at an open route.
        data: the body as it came.
    """

    scope: Scope
    names: Mapping[str, str]
    peer: Peer | None
    data: bytes

    def header(self, name: bytes) -> str | None:
        """The first of that name (in lower case)."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)

    def body(self, model: type[Body]) -> Body:
        """The body, checked. Raises Refusal as ``parsed``."""
        return parsed(model, self.data, self.header(b"content-type") or "")


def parsed(model: type[Body], data: bytes, media_type: str) -> Body:
    """A request's body, checked. Refusal(BAD_INPUT) says in one line what is wrong with it."""
    if not data:
        raise Refusal(Code.BAD_INPUT, "body: missing; give it")
    if not JSON.fullmatch(media_type):  # others a browser sends wherever a page wants
        raise Refusal(Code.BAD_INPUT, "the body is not said to be JSON; send Content-Type: application/json")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        errors = [{**each, "loc": ("body", *each["loc"])} for each in found]
        raise Refusal(Code.BAD_INPUT, problems.complaints(errors)) from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint gives back whose status is not always its route's."""

    status: int
    body: Any


Endpoint = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the service; ``guard`` None: open to everyone, with or without a certificate."""

    method: str
    path: str
    guard: RoleGuard | None
    status: int
    endpoint: Endpoint


@dataclass(slots=True)
class Calls:
    """The ASGI app; add routes by ``guarded`` and ``opened``, so that none is open by mistake."""

    routes: list[Route] = field(default_factory=list)
    _paths: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = field(default_factory=dict)

    def guarded(self, method: str, path: str, guard: RoleGuard, *, status: int = 200) -> Callable[[Endpoint], Endpoint]:
        """Decorates a coroutine whose result is the answer's JSON, for whom the guard lets pass."""
        if not isinstance(guard, RoleGuard):
            raise TypeError(f"{method} {path} names no role that may call it")
        return self._adder(method, path, guard, status)

    def opened(self, method: str, path: str) -> Callable[[Endpoint], Endpoint]:
        """The same for everyone."""
        return self._adder(method, path, None, 200)

    def _adder(self, method: str, path: str, guard: RoleGuard | None, status: int) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            route = Route(method, path, guard, status, endpoint)
            pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))
            self.routes.append(route)
            self._paths.setdefault(path, (pattern, {}))[1][method] = route
            return endpoint

        return add

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            route, names = self._find(scope)
            peer = route.guard.check(scope) if route.guard else None
            data = await _body(receive) if scope["method"] != "GET" else b""
            found = await route.endpoint(Call(scope, names, peer, data))
            status, found = (found.status, found.body) if isinstance(found, Answer) else (route.status, found)
            answer = _json(found)
        except _NoRoute as wrong:
            await problems.no_route(scope, wrong.status, wrong.headers)(scope, receive, send)
            return
        except Refusal as refusal:
            scope[problems.CODE] = refusal.code
            await problems.response(refusal)(scope, receive, send)
            return
        except Exception as error:  # noqa: BLE001 - logged, and told as a problem
            await problems.response(problems.surprise(scope, error))(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(answer)), (b"content-type", b"application/json")] if answer else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _find(self, scope: Scope) -> tuple[Route, Mapping[str, str]]:
        for pattern, by_method in self._paths.values():
            match = pattern.fullmatch(scope["path"])
            if match is not None:
                route = by_method.get(scope["method"])
                scope["route"] = route or next(iter(by_method.values()))
                if route is None:
                    raise _NoRoute(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(by_method)})
                return route, match.groupdict()
        raise _NoRoute(HTTPStatus.NOT_FOUND, {})


class _NoRoute(Exception):  # noqa: N818 - as trust.errors.Refusal
    """No call of this service."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers


async def _body(receive: Receive) -> bytes:
    """The whole body; ``rpc/body_limit.py`` has bounded it."""
    message = await receive()
    data: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        data += message.get("body", b"")
    return data


def _json(found: Any) -> bytes:
    return b"" if found is None else json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
