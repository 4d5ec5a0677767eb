"""Who may call a route: the certificate shown in the TLS handshake, checked again at each request.

The default is deny: ``deny_by_default`` refuses an app that has a route without a guard or the ``open_route`` mark.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from trust.authorize import Action
from trust.peers import Peer
from trust.store import TrustStore

from trust.identity import Role

PEER = "dslice.peer"  # the key in the ASGI scope: the peer's certificate (DER), None without one

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Guard:
    """Guards the routes of one service by its ``TrustStore``."""

    def __init__(self, store: TrustStore) -> None:
        self.store = store

    def role(self, *roles: Role, action: Action | None = None) -> Callable[[HTTPConnection], Any]:
        """A FastAPI dependency that gives the caller's ``Peer``: ``Depends(guard.role(Role.USER))``.

        Refusals: not-authenticated and revoked (401), not-allowed (403, another role), crl-stale (503, when ``action``
        changes something and the revocation list is too old for it).
        """
        raise NotImplementedError

    def recheck(self, der: bytes, *roles: Role) -> Peer:
        """The same check again, for streams: once a minute (PROTOCOL "Identities")."""
        raise NotImplementedError


def open_route(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint as open to everyone, with or without a certificate. Stands below the route's decorator."""
    raise NotImplementedError


def deny_by_default(app: FastAPI) -> None:
    """Raise RuntimeError if a route of ``app`` is neither guarded nor marked open. ``serve`` calls it for each app."""
    raise NotImplementedError
