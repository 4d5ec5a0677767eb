"""The network in memory: a request goes into the application that has the address, or does not get there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

from rpc.reply import Reply, Target, encoded
from tests.unit.nodemgr.test_machine import Crash
from tests.unit.rpc.asgi import ask
from tests.unit.trust.factories import SVM, certificate_of, der
from trust.errors import Code, Refusal
from trust.identity import Identity


class Fate(StrEnum):
    """What happens to one call."""

    ARRIVES = "arrives"
    REFUSED = "refused"  # nobody listens: nothing was sent
    LOST = "lost"  # done, and the answer never came
    STOPS_BEFORE = "stops before"  # the worker is stopped (SIGSTOP) with the request in its hands
    STOPS_AFTER = "stops after"  # … with the answer in its hands


class Wire:
    """Implements the part of `rpc.aio.Session` that clients use.

    Args:
        apps: service managers' peers by host. down: hosts that nobody reaches.
        restart: called with a host whose process died in a request.
    """

    def __init__(self, restart: Callable[[str], Awaitable[None]]) -> None:
        self.apps: dict[str, Any] = {}
        self.down: set[str] = set()
        self.restart = restart
        self.fate, self.spared = Fate.ARRIVES, 0
        self.stopped: list[asyncio.Future[None]] = []
        self.on_stop: asyncio.Future[None] | None = None
        self._peer = der(certificate_of(SVM))

    def doom(self, fate: Fate, spared: int = 0) -> None:
        """The next call, after `spared` others, has this fate."""
        self.fate, self.spared = fate, spared

    async def call(
        self,
        method: str,
        url: str,
        *,
        expect: Identity,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 0,
        deadline: float = 0,
    ) -> Reply:
        """One request and its answer; Refusals as `rpc.aio.Session.call`."""
        del connect_timeout, deadline
        target, fate = Target.of(url, expect), self._next()
        if fate is Fate.STOPS_BEFORE:
            await self._stop()
        if fate is Fate.REFUSED or target.host in self.down:
            raise Refusal(Code.UNREACHABLE, f"connection refused by {target.place}")
        data = b"" if json is None else encoded(json)
        sent = {**(headers or {}), "content-type": "application/json", "content-length": str(len(data))}
        path = url.split("/", 3)[3]
        try:
            answer = await ask(self.apps[target.host], method, f"/{path}", pieces=[data], headers=sent, peer=self._peer)
        except Crash:
            await self.restart(target.host)
            raise target.lost() from None
        if fate is Fate.STOPS_AFTER:
            await self._stop()
        if fate is Fate.LOST:
            raise target.lost()
        return target.reply(answer.status, {**answer.headers, "content-length": "0"}, answer.data)

    def _next(self) -> Fate:
        if self.spared:
            self.spared -= 1
            return Fate.ARRIVES
        fate, self.fate = self.fate, Fate.ARRIVES
        return fate

    async def _stop(self) -> None:
        gate = asyncio.get_running_loop().create_future()
        self.stopped.append(gate)
        if self.on_stop is not None and not self.on_stop.done():
            self.on_stop.set_result(None)
        await gate
