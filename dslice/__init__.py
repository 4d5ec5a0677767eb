"""Slices of many machines, from Python: what `svm` does, for programs and notebooks (docs/python.md).

    import dslice

    with dslice.Slice("oceanstore", nodes=64, hours=12, keys="~/.ssh/id_ed25519.pub") as s:
        for result in s.run("uname -r"):
            print(result)

It speaks to svmd with the certificate in `~/.planetlab`, as `svm` does. `dslice.aio` has the same names for asyncio.
Importing it loads little; TLS and signing come with the first call.
"""

from typing import TYPE_CHECKING, Any

from dslice.ad import Ad
from dslice.client import Client, connect, nodes, slices
from dslice.errors import Error, OperationFailed, PartialFailure
from dslice.event import Event, Failure
from dslice.node import Node, Tunnel
from dslice.operation import Operation
from dslice.result import Result, Results
from dslice.slice import Slice
from dslice.status import Status

if TYPE_CHECKING:
    from dslice import aio

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
    "aio",
    "connect",
    "nodes",
    "slices",
]


def __getattr__(name: str) -> Any:
    if name == "aio":  # asyncio takes longer to load than all the rest
        from importlib import import_module

        return import_module("dslice.aio")
    raise AttributeError(f"module 'dslice' has no attribute {name!r}")
