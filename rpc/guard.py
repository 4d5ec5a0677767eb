"""Who may call a route: the certificate shown in the TLS handshake, checked again at each request.

The default is deny: ``deny_by_default`` refuses an app that has a route without a guard or the ``open_route`` mark.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from trust.actions import Action
from trust.errors import Code, Refusal
from trust.identity import Role
from trust.peers import Peer
from trust.store import TrustStore

PEER = "dslice.peer"  # the key in the ASGI scope: the peer's certificate (DER), None without one
CALLER = "dslice.caller"  # the key in the ASGI scope of a ``Guarded`` application
OPEN = "__dslice_open__"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Guard:
    """Guards the routes of one service by its ``TrustStore``."""

    def __init__(self, store: TrustStore) -> None:
        self.store = store

    def role(self, *roles: Role, action: Action | None = None) -> "RoleGuard":
        """What gives the caller's ``Peer``; a FastAPI dependency, too: ``Depends(guard.role(Role.USER))``.

        Refusals: not-authenticated and revoked (401), not-allowed (403, another role), crl-stale (503, when ``action``
        changes something and the revocation list is too old for it).
        """
        if not roles:
            raise ValueError("a guard names the roles that it lets pass")
        return RoleGuard(self, frozenset(roles), action)

    def recheck(self, peer: Peer) -> Peer:
        """The same check again, for streams: once a minute (docs/protocol.md, "Identities"). Refusals as above."""
        return self.store.peer(peer.certificate, {peer.identity.role})


@dataclass(frozen=True, slots=True)
class RoleGuard:
    """The dependency that ``Guard.role`` makes; ``deny_by_default`` knows it by its type."""

    guard: Guard
    roles: frozenset[Role]
    action: Action | None

    # async, although it waits for nothing: FastAPI would run a plain one in a thread, at every request.
    async def __call__(self, connection: HTTPConnection) -> Peer:
        return self.check(connection.scope)

    def check(self, scope: Scope) -> Peer:
        """Who calls; Refusals as ``Guard.role`` says."""
        certificate = scope.get(PEER)
        if certificate is None:
            raise Refusal(
                Code.NOT_AUTHENTICATED, "this call needs a certificate; get one with plkeygen (services: dslice enroll)"
            )
        peer = self.guard.store.peer(certificate, self.roles)
        self.guard.store.require_fresh(self.action)
        return peer


class Guarded:
    """A route's endpoint without FastAPI between: an ASGI application that sees only calls that the guard lets pass.

    It finds the caller's ``Peer`` in the scope, under ``CALLER``; errors leave it as problems, as they leave others.
    """

    def __init__(self, path: str, guard: RoleGuard, app: ASGIApp) -> None:
        self.path = path  # under which its requests are counted
        self._guard = guard
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        scope[CALLER] = self._guard.check(scope)
        await self._app(scope, receive, send)


def open_route(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint as open to everyone, with or without a certificate. Stands below the route's decorator."""
    setattr(endpoint, OPEN, True)
    return endpoint


def deny_by_default(app: FastAPI) -> None:
    """Raise RuntimeError if a route of ``app`` is neither guarded nor marked open. ``serve`` calls it for each app.

    Mounted apps and files served by ``frontend`` cannot be checked, and are refused.
    """
    bare = [_name(context) for context in iter_route_contexts(app.routes) if not _may_serve(context)]
    bare += ["(frontend)" for _ in app.router._iter_low_priority_routes()]
    if bare:
        raise RuntimeError(f"routes without a guard and not marked open: {', '.join(sorted(bare))}")


def _may_serve(context: RouteContext) -> bool:
    if getattr(context.endpoint, OPEN, False) or isinstance(context.endpoint, Guarded):
        return True
    dependant = getattr(context, "dependant", None)
    return isinstance(dependant, Dependant) and _guarded(dependant)


def _guarded(dependant: Dependant) -> bool:
    return isinstance(dependant.call, RoleGuard) or any(map(_guarded, dependant.dependencies))


def _name(context: RouteContext) -> str:
    return f"{'|'.join(sorted(context.methods or ['*']))} {context.path}"
