"""What the operator has nodes do to slivers that are not his: a signed order, which each node checks on its own.

An admin signs with the key of his certificate, which says ``OU=Admin``. At plc's own machine the operator signs with
the CA's key, as plc's other lists are signed. Nobody else's order counts, the owner's and a service manager's neither.

======== ======================== ================= ========================================================
text     typ                      signer, alg       claims
======== ======================== ================= ========================================================
order    dslice-order+jwt         an admin, PS256   iss, iat, exp, jti, node ("": all), slice, slice_id, reason
the same dslice-plc-order+jwt     the CA, ES256     the same
======== ======================== ================= ========================================================
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from cryptography import x509

from trust.claims import Claims
from trust.documents import MAX_LEASELEN, SKEW
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import DocumentType, malformed, open_document, open_with_key, sign
from trust.keys import PrivateKey
from trust.store import TrustStore

BY_ADMIN = DocumentType("dslice-order+jwt", "PS256", Role.USER)
BY_PLC = DocumentType("dslice-plc-order+jwt", "ES256", Role.PLC)
# No lease that was there when the order was signed is there after it, whatever its node heard meanwhile.
ORDER_LIFETIME = MAX_LEASELEN + 86_400
LONGEST_REASON = 500  # characters


class Signer(StrEnum):
    """Whose signature an order has; it decides the type of document that is expected."""

    ADMIN = "admin"
    PLC = "plc"


@dataclass(frozen=True, slots=True)
class Order:
    """The slivers of one registration of a slice are to be removed: on one node, or (``node`` None) on all."""

    issuer: Identity
    node: Identity | None
    slice: str
    slice_id: UUID
    reason: str
    jti: str
    issued_at: datetime
    expires_at: datetime

    def is_for(self, node: Identity) -> bool:
        return self.node is None or self.node == node


def new_order(
    issuer: Identity, node: Identity | None, slice: str, slice_id: UUID, reason: str, now: datetime, end: datetime
) -> Order:
    """One made now, that ends with the last lease that it can be about, or at ``end`` (of its signer's certificate)."""
    begin = now.replace(microsecond=0)
    last = min(begin + timedelta(seconds=ORDER_LIFETIME), end)
    return Order(issuer, node, slice, slice_id, reason, str(uuid4()), begin, last)


def sign_order(order: Order, key: PrivateKey, certificate: x509.Certificate | None) -> str:
    """As compact JWS: with an admin's key and certificate, or with the CA's key and none."""
    claims = {
        "iss": order.issuer.uri,
        "iat": int(order.issued_at.timestamp()),
        "exp": int(order.expires_at.timestamp()),
        "jti": order.jti,
        "node": order.node.uri if order.node else "",
        "slice": order.slice,
        "slice_id": str(order.slice_id),
        "reason": order.reason,
    }
    return sign(BY_PLC if certificate is None else BY_ADMIN, claims, key, certificate)


def verify_order(token: str, signer: Signer, store: TrustStore) -> Order:
    """The order, good at this moment.

    Raises Refusal: BAD_INPUT malformed; NOT_AUTHENTICATED, REVOKED or NOT_ALLOWED for a signer who is no admin and not
    the CA; NOT_ALLOWED expired.
    """
    if signer is Signer.PLC:
        document, issuer = BY_PLC, Identity(Role.PLC, "plc")
        values = open_with_key(token, document, store.root.public_key())
    else:
        document = BY_ADMIN
        values, peer = open_document(token, document, store)
        issuer = peer.identity
        if not peer.admin:
            raise Refusal(Code.NOT_ALLOWED, f"{issuer.name} is not an admin; only the operator orders this")
    order = _order(Claims(document, values), document)
    if order.issuer != issuer:
        raise Refusal(Code.NOT_AUTHENTICATED, f"this order says it is of {order.issuer}, and {issuer} signed it")
    now, skew = store.clock.now(), timedelta(seconds=SKEW)
    if not order.issued_at - skew <= now <= order.expires_at + skew:
        raise Refusal(Code.NOT_ALLOWED, "this order has ended, or is of the future; compare the clocks, sign another")
    if (order.expires_at - order.issued_at).total_seconds() > ORDER_LIFETIME:
        raise malformed(document, "lives longer than it may")
    return order


def _order(claims: Claims, document: DocumentType) -> Order:
    claims.require_exactly(("iss", "iat", "exp", "jti", "node", "slice", "slice_id", "reason"))
    reason = claims.text("reason")
    if not reason or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise malformed(document, "has a wrong claim 'reason'")
    return Order(
        issuer=claims.identity("iss", Role.USER, Role.PLC),
        node=claims.identity("node", Role.NODE) if claims.text("node") else None,
        slice=claims.slice_name(),
        slice_id=claims.slice_id(),
        reason=reason,
        jti=claims.jti(),
        issued_at=claims.moment("iat"),
        expires_at=claims.moment("exp"),
    )


def values_of(order: Order) -> dict[str, Any]:
    """Its claims as columns have them."""
    return {
        "jti": order.jti,
        "node": order.node.name if order.node else None,
        "slice": order.slice,
        "slice_id": order.slice_id,
        "reason": order.reason,
        "made_at": order.issued_at,
        "expires_at": order.expires_at,
    }
