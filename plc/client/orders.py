"""What plc's operator wants of nodes: which are drained, and which slivers go. For agents, nodes and `dslice`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import DocumentType, open_with_key, sign
from trust.orders import Signer

DRAINS = DocumentType("dslice-drains+jwt", "ES256", Role.PLC)


@dataclass(frozen=True, slots=True)
class Drain:
    """A node that gets no new slivers.

    Args:
        renews: whether leases that are there may be renewed.
        until: when this ends by itself (UTC).
        replaces: whether slices that heal get other nodes in its place.
    """

    node: str
    reason: str
    renews: bool
    until: datetime | None
    replaces: bool = False

    def counts(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    def to_json(self) -> dict[str, object]:
        end = self.until.isoformat() if self.until else None
        wanted = {"renews": self.renews, "replaces": self.replaces, "until": end}
        return {"node": self.node, "reason": self.reason, **wanted}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        end = datetime.fromisoformat(body["until"]) if body["until"] else None
        replaces = bool(body.get("replaces", False))  # a plc of before it says nothing
        return cls(str(body["node"]), str(body["reason"]), bool(body["renews"]), end, replaces)


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order to remove slivers, as its signer made it; `done`: its one node has said that it obeyed."""

    token: str
    signer: Signer
    done: bool


@dataclass(frozen=True, slots=True)
class Orders:
    """`GET /orders`. `tag`: to ask with next time."""

    tag: str
    drains: Mapping[str, Drain]
    removals: tuple[Ordered, ...]

    @classmethod
    def read(cls, body: Mapping[str, Any], key: object) -> Self:
        """With the CA's signature under the drains checked by its public key. Orders have signatures of their own,
        which whoever obeys them checks. Raises Refusal(NOT_AUTHENTICATED)."""
        removals = [Ordered(str(one["order"]), Signer(one["signer"]), bool(one["done"])) for one in body["removals"]]
        drains = {drain.node: drain for drain in read_drains(str(body["drains"]), key)}
        return cls(str(body["tag"]), drains, tuple(removals))


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A node that is enrolled at plc; `drain` with who wanted it and since when."""

    name: str
    addresses: tuple[str, ...]
    enrolled_at: datetime
    drain: Drain | None
    who: str | None
    since: datetime | None

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        since = datetime.fromisoformat(body["since"]) if body["since"] else None
        drain = Drain.from_json({"node": body["name"], **body}) if since else None
        at = datetime.fromisoformat(body["enrolled_at"])
        return cls(str(body["name"]), tuple(body["addresses"]), at, drain, body["who"], since)

    @property
    def identity(self) -> Identity:
        return Identity(Role.NODE, self.name)


def sign_drains(drains: Sequence[Drain], key: EllipticCurvePrivateKey, now: datetime) -> str:
    return sign(DRAINS, {"iat": int(now.timestamp()), "drains": [drain.to_json() for drain in drains]}, key)


def read_drains(token: str, key: object) -> list[Drain]:
    """Those in a list that the root's public key signed; Refusal(NOT_AUTHENTICATED) for any other."""
    try:
        return [Drain.from_json(one) for one in open_with_key(token, DRAINS, key)["drains"]]
    except (ValueError, KeyError, TypeError, Refusal) as error:
        raise Refusal(
            Code.NOT_AUTHENTICATED, "the list of drained nodes is not signed by plc's CA; fetch it again"
        ) from error
