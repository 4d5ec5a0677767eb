"""What plc says, as values; shapes of the wire stand beside them (docs/protocol.md, "Calls", plc)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from trust.identity import Identity, Role

# There is one plc for one root certificate, so its name is fixed and every client can demand it.
PLC = Identity(Role.PLC, "plc")

CONTACT = ("address", "city", "state", "zip", "country", "phone", "url")


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """One agent that users may ask: its name (``Identity(AGENT, name)``) and base URL."""

    name: str
    url: str

    @property
    def identity(self) -> Identity:
        return Identity(Role.AGENT, self.name)


@dataclass(frozen=True, slots=True)
class Directory:
    """``GET /.well-known/planetlab``: who is who behind this root.

    Args:
        plc: plc's own identity.
        ca_fingerprint: SHA-256 of the root certificate, hex.
        svmd: base URL of the service manager, None when none has announced itself.
        svm: the identity that users delegate to.
        agents: the agents to ask, ordered by name; nothing else is ever dialled.
    """

    plc: Identity
    ca_fingerprint: str
    svmd: str | None
    svm: Identity | None
    agents: tuple[AgentEntry, ...]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        svm = body.get("svm")
        return cls(
            plc=Identity.parse(body["plc"]),
            ca_fingerprint=body["ca_fingerprint"],
            svmd=body.get("svmd"),
            svm=Identity.parse(svm) if svm else None,
            agents=tuple(AgentEntry(entry["name"], entry["url"]) for entry in body["agents"]),
        )


class RequestState(StrEnum):
    """Where a certificate request stands: the CA operator decides it once."""

    PENDING = "pending"
    ISSUED = "issued"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A certificate request as its maker sees it; ``certificate_pem`` once issued, ``reason`` once denied."""

    id: str
    state: RequestState
    operator: str
    requested_at: datetime
    reason: str | None
    certificate_pem: str | None

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        return cls(
            id=body["id"],
            state=RequestState(body["state"]),
            operator=body["operator"],
            requested_at=datetime.fromisoformat(body["requested_at"]),
            reason=body.get("reason"),
            certificate_pem=body.get("certificate"),
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request as the operator sees it: whose, since when, for which key."""

    email: str
    name: str
    site: str
    account_role: str
    key_sha256: str
    request: CertificateRequest

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        said = (body["email"], body["name"], body["site"], body["standing"], body["key_sha256"])
        return cls(*said, CertificateRequest.from_json(body))


class AccountState(StrEnum):
    """An account is asked for, then enabled by a PI of its site; disabled accounts stay, their e-mail too."""

    REQUESTED = "requested"
    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class User:
    """``GET /users/{email}``; ``contact`` is None for those who may not see it, else has the keys of CONTACT.

    ``keys`` are SSH public keys, one line each, the newest first.
    """

    email: str
    name: str
    site: str
    title: str
    is_admin: bool
    is_pi: bool
    account: AccountState
    contact: Mapping[str, str] | None
    keys: tuple[str, ...]

    @property
    def identity(self) -> Identity:
        return Identity.user(self.email)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        return cls(
            email=body["email"],
            name=body["name"],
            site=body["site"],
            title=body["title"],
            is_admin=body["is_admin"],
            is_pi=body["is_pi"],
            account=AccountState(body["account"]),
            contact=body["contact"],
            keys=tuple(body["keys"]),
        )
