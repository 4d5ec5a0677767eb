"""HTTPS servers with mutual TLS: many apps, addresses and certificates in one event loop."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from rpc.guard import Guard, deny_by_default, open_route

__all__ = ["Guard", "Listener", "application", "deny_by_default", "open_route", "run", "serve"]

Ready = Callable[[list[tuple[str, int]]], None]


@dataclass(frozen=True, slots=True)
class Listener:
    """One app at one address; port 0 is any free one. ``context`` None means plain HTTP (metrics, on loopback)."""

    app: Any
    host: str
    port: int
    context: ssl.SSLContext | None
    name: str = ""


def application(title: str, **options: Any) -> FastAPI:
    """A FastAPI app without documentation routes, whose errors are problems; ``options`` go to FastAPI (lifespan …)."""
    raise NotImplementedError


async def serve(
    listeners: Sequence[Listener], *, ready: Ready | None = None, stop: asyncio.Event | None = None, grace: int = 10
) -> None:
    """Serve until ``stop`` is set, or SIGTERM or SIGINT comes (main thread only).

    ``ready`` gets the (host, port) of each listener, in order, once all of them answer. At the end no new request is
    taken, event streams end at once, and other requests have ``grace`` seconds. Raises OSError for an address in use.
    """
    raise NotImplementedError


def run(
    listeners: Sequence[Listener], *, ready: Ready | None = None, stop: asyncio.Event | None = None, grace: int = 10
) -> None:
    """``serve`` in a loop of its own (uvloop where it is installed)."""
    raise NotImplementedError
