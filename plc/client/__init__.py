"""The client of plc: what every other program knows of it. Imports only `rpc` and `trust`; synchronous."""

from plc.client.calls import Plc
from plc.client.directory_cache import DirectoryCache
from plc.client.member import Keeper, Member
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
