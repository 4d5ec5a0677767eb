"""`dslice` for asyncio: the same names and arguments, to be awaited; what yields is iterated with `async for`.

    async with dslice.aio.Slice("oceanstore", nodes=64, keys="~/.ssh/id_ed25519.pub") as s:
        async for result in s.run("uname -r"):
            print(result)

Each call is that of `dslice`, in a thread of its own (docs/adr/0043-a-python-package.md), so there is one core. Whoever
is cancelled waits no longer: an operation goes on, as after Ctrl-C, and commands on nodes are ended.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

import dslice
from dslice.ad import Ad
from dslice.awaiting import awaited, each, giving, in_thread, like, streamed
from dslice.client import default_client
from dslice.errors import Error, OperationFailed, PartialFailure
from dslice.event import Event, Failure
from dslice.result import Result
from dslice.status import Status

__all__ = [
    "Ad",
    "Client",
    "Error",
    "Event",
    "Failure",
    "Node",
    "Operation",
    "OperationFailed",
    "PartialFailure",
    "Result",
    "Results",
    "Slice",
    "Status",
    "Tunnel",
    "connect",
    "nodes",
    "slices",
]
P = ParamSpec("P")


class Operation:
    """`dslice.Operation`, awaited."""

    def __init__(self, it: dslice.Operation) -> None:
        self._it = it
        self.id, self.verb, self.slice = it.id, it.verb, it.slice

    @property
    def outcome(self) -> str | None:
        """How it ended; None while it goes on, or was not watched."""
        return self._it.outcome

    @property
    def nodes(self) -> list[str]:
        """Where it has gone well, as far as it was watched."""
        return self._it.nodes

    @property
    def failures(self) -> list[Failure]:
        """Where it has not."""
        return self._it.failures

    watch = streamed(dslice.Operation.watch)
    wait = giving(dslice.Operation.wait, lambda it: Operation(it))  # noqa: PLW0108 - its name is not there yet
    cancel = awaited(dslice.Operation.cancel)
    refresh = awaited(dslice.Operation.refresh)

    def _repr_html_(self) -> str:
        return self._it._repr_html_()


class Results:
    """`dslice.Results`: the command begins when it is iterated or waited for, and is ended when nobody iterates."""

    def __init__(self, start: Callable[[], dslice.Results]) -> None:
        self._start = start

    async def __aiter__(self) -> AsyncIterator[Result]:
        it = await in_thread(self._start)
        async with aclosing(each(lambda: it, it.close)) as coming:
            async for result in coming:
                yield result

    async def wait(self) -> list[Result]:
        """All results, in the order in which they came."""
        return [result async for result in self]

    async def check(self) -> list[Result]:
        """All results; raises Error(command-failed) where a status is not 0."""
        return dslice.result.checked(await self.wait())


def _running(method: Callable[Concatenate[Any, P], dslice.Results]) -> Callable[Concatenate[Any, P], Results]:
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Results:
        return Results(lambda: method(self._it, *args, **kwargs))

    call.__doc__ = method.__doc__
    return call


class Tunnel:
    """`dslice.Tunnel`: `async with await node.open_tunnel(80) as tunnel`."""

    def __init__(self, it: dslice.Tunnel) -> None:
        self._it = it
        self.host, self.port = it.host, it.port

    close = awaited(dslice.Tunnel.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Node:
    """`dslice.Node` by its address or name, looked up anew at each call."""

    def __init__(self, slice: dslice.Slice, address: str) -> None:
        self._slice, self.address = slice, address

    @property
    def _it(self) -> dslice.Node:
        return self._slice[self.address]

    run = awaited(dslice.Node.run)
    put = awaited(dslice.Node.put)
    get = awaited(dslice.Node.get)
    ssh_config = awaited(dslice.Node.ssh_config)
    open_tunnel = giving(dslice.Node.open_tunnel, Tunnel)

    def __str__(self) -> str:
        return self.address


class Slice:
    """`dslice.Slice`, awaited: `async with`, or `await s.create()`. Its `client` is an aio.Client's `sync`."""

    _it: dslice.Slice

    @like(dslice.Slice)
    def __init__(self) -> None: ...

    @classmethod
    def of(cls, it: dslice.Slice) -> Self:
        """The same slice."""
        self = cls.__new__(cls)
        self._it = it
        return self

    @property
    def name(self) -> str:
        return self._it.name

    async def create(self) -> Self:
        """As `dslice.Slice.create`."""
        await in_thread(self._it.create)
        return self

    async def __aenter__(self) -> Self:
        await in_thread(self._it.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await in_thread(lambda: self._it.__exit__(kind, error, trace))

    def __getitem__(self, word: str) -> Node:
        """The node of that address or name; what is done there says if it is none."""
        return Node(self._it, word)

    tickets = giving(dslice.Slice.tickets, Operation)
    leases = giving(dslice.Slice.leases, Operation)
    vms = giving(dslice.Slice.vms, Operation)
    delete = giving(dslice.Slice.delete, Operation)
    shrink = giving(dslice.Slice.shrink, Operation)
    stop = giving(dslice.Slice.stop, Operation)
    start = giving(dslice.Slice.start, Operation)
    restart = giving(dslice.Slice.restart, Operation)
    reset = giving(dslice.Slice.reset, Operation)
    renew = giving(dslice.Slice.renew, Operation)
    autorenew = giving(dslice.Slice.autorenew, Operation)
    heal = giving(dslice.Slice.heal, Operation)
    add_key = giving(dslice.Slice.add_key, Operation)
    del_key = giving(dslice.Slice.del_key, Operation)
    operation = giving(dslice.Slice.operation, Operation)
    wait = giving(dslice.Slice.wait, Operation)
    nodes = giving(dslice.Slice.nodes, lambda found: [Node(each.slice, each.address) for each in found])
    status = awaited(dslice.Slice.status)
    expirations = awaited(dslice.Slice.expirations)
    history = awaited(dslice.Slice.history)
    events = history
    watch = streamed(dslice.Slice.watch)
    run = _running(dslice.Slice.run)
    put = _running(dslice.Slice.put)
    get = _running(dslice.Slice.get)
    to_pandas = awaited(dslice.Slice.to_pandas)

    def __repr__(self) -> str:
        return f"aio.{self._it!r}"


class Client:
    """`dslice.Client`, awaited; `sync` is that one."""

    _it: dslice.Client

    @like(dslice.Client)
    def __init__(self) -> None: ...

    @property
    def sync(self) -> dslice.Client:
        return self._it

    nodes = awaited(dslice.Client.nodes)
    slices = giving(dslice.Client.slices, lambda found: [Slice.of(each) for each in found])
    close = awaited(dslice.Client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


connect = Client


async def nodes(agent: str | None = None) -> list[Ad]:
    """The nodes that agents advertise; those of one agent."""
    return await in_thread(lambda: default_client().nodes(agent))


async def slices() -> list[Slice]:
    """Your slices."""
    return [Slice.of(it) for it in await in_thread(lambda: default_client().slices())]
