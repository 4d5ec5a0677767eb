"""The client of plc: what every other program knows of it. Imports only `rpc` and `trust`; synchronous.

`Member` and `Keeper` are for services. They are loaded when somebody asks for them: the command line, which starts
fast, has no use for an event loop.
"""

from typing import TYPE_CHECKING

from plc.client.calls import Plc
from plc.client.directory_cache import DirectoryCache
from plc.client.values import (
    CONTACT,
    PLC,
    AccountState,
    AgentEntry,
    CertificateRequest,
    Directory,
    RequestState,
    User,
    Waiting,
)

if TYPE_CHECKING:
    from plc.client.member import Keeper, Member

__all__ = [
    "CONTACT",
    "PLC",
    "AccountState",
    "AgentEntry",
    "CertificateRequest",
    "Directory",
    "DirectoryCache",
    "Keeper",
    "Member",
    "Plc",
    "RequestState",
    "User",
    "Waiting",
]


def __getattr__(name: str) -> object:
    """PEP 562."""
    if name not in ("Keeper", "Member"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from plc.client import member

    return getattr(member, name)
