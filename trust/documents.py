"""Tickets, leases and delegations: what they say, how they are signed, and one pure check for each.

======== ============ ========== ===============================================================
document signed by    algorithm  longest life
======== ============ ========== ===============================================================
Ticket   agent        ES256      3,600 s, and the agent certificate's end
Lease    node         ES256      1,209,600 s (two weeks, howto section 3) and the clocks' skew
Working  user         PS256      24 h, and the user certificate's end
Standing user         PS256      the user certificate's end
======== ============ ========== ===============================================================

A ticket or lease of a slice that needs something is of a type of its own, with the claim ``needs`` (ADR 37).

Checks come in the order of docs/protocol.md, "Signed documents". Times have whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from trust.claims import Claims
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import (
    DELEGATION,
    LEASE,
    LEASE_2,
    TICKET,
    TICKET_2,
    DocumentType,
    Signer,
    malformed,
    of_type,
    open_document,
    sign,
)
from trust.needs import NOTHING, Needs

if TYPE_CHECKING:
    from trust.keys import PrivateKey
    from trust.peers import Peer
    from trust.store import TrustStore

SKEW = 30
MAX_LEASELEN = 1_209_600
TICKET_LIFETIME = 3600
WORKING_LIFETIME = 86_400
MAX_GENERATION = 2**31 - 1

_TIMES = ("iss", "iat", "exp", "jti")


@dataclass(frozen=True, slots=True)
class Ticket:
    """An agent's promise of a sliver of ``leaselen`` seconds on ``node``, for ``owner``; good once."""

    issuer: Identity
    node: Identity
    owner: Identity
    slice: str
    slice_id: UUID
    jti: str
    leaselen: int
    issued_at: datetime
    expires_at: datetime
    needs: Needs = NOTHING


@dataclass(frozen=True, slots=True)
class Lease:
    """A node's receipt: this generation of the slice's sliver there lives until ``expires_at``, and has its needs."""

    issuer: Identity
    owner: Identity
    slice: str
    slice_id: UUID
    generation: int
    jti: str
    issued_at: datetime
    expires_at: datetime
    needs: Needs = NOTHING


class DelegationKind(StrEnum):
    """WORKING covers every action, for a day at most; STANDING renews, and with ``heal`` creates again."""

    WORKING = "working"
    STANDING = "standing"


@dataclass(frozen=True, slots=True)
class Delegation:
    """A user's permission for one service manager to act on one slice.

    ``svm`` is an agent where users ask it themselves: it shows plc that the slice's name is wanted by its owner.
    """

    issuer: Identity
    svm: Identity
    slice: str
    kind: DelegationKind
    jti: str
    issued_at: datetime
    expires_at: datetime
    heal: bool = False

    def __post_init__(self) -> None:
        if self.heal and self.kind is not DelegationKind.STANDING:
            raise Refusal(Code.BAD_INPUT, "only a standing delegation can heal; sign a standing one")


def working_delegation(issuer: Identity, to: Identity, slice: str, certificate: Signer, now: datetime) -> Delegation:
    """One made now, for ``to``, that ends with the day or the user's certificate."""
    begin = now.replace(microsecond=0)
    end = min(begin + timedelta(seconds=WORKING_LIFETIME), certificate.not_valid_after_utc)
    return Delegation(issuer, to, slice, DelegationKind.WORKING, str(uuid4()), begin, end)


def sign_ticket(ticket: Ticket, key: PrivateKey, certificate: Signer) -> str:
    """The ticket as compact JWS, signed with an agent's key (``certificate`` is the agent's)."""
    claims = _common(ticket) | {
        "aud": ticket.node.uri,
        "sub": ticket.owner.uri,
        "slice": ticket.slice,
        "slice_id": str(ticket.slice_id),
        "leaselen": ticket.leaselen,
    }
    return sign(TICKET_2 if ticket.needs else TICKET, claims | _needs_claim(ticket), key, certificate)


def sign_lease(lease: Lease, key: PrivateKey, certificate: Signer) -> str:
    """The lease as compact JWS, signed with a node's key (``certificate`` is the node's)."""
    claims = _common(lease) | {
        "sub": lease.owner.uri,
        "slice": lease.slice,
        "slice_id": str(lease.slice_id),
        "generation": lease.generation,
    }
    return sign(LEASE_2 if lease.needs else LEASE, claims | _needs_claim(lease), key, certificate)


def sign_delegation(delegation: Delegation, key: PrivateKey, certificate: Signer) -> str:
    """The delegation as compact JWS, signed with a user's key (``certificate`` is the user's)."""
    claims = _common(delegation) | {
        "sub": delegation.svm.uri,
        "slice": delegation.slice,
        "kind": str(delegation.kind),
    }
    if delegation.kind is DelegationKind.STANDING:
        claims["heal"] = delegation.heal
    return sign(DELEGATION, claims, key, certificate)


def verify_ticket(token: str, *, store: TrustStore, audience: Identity) -> Ticket:
    """The ticket, good at this moment for the node ``audience``; burning it is the node's, and comes last.

    Raises Refusal: BAD_INPUT malformed, NOT_AUTHENTICATED, REVOKED or NOT_ALLOWED for its signer or another node's
    ticket, TICKET_EXPIRED.
    """
    claims, signer = _opened(token, of_type(token, TICKET, TICKET_2), store)
    needs = ("needs",) if claims.document is TICKET_2 else ()
    claims.require_exactly((*_TIMES, "aud", "sub", "slice", "slice_id", "leaselen", *needs))
    ticket = Ticket(
        issuer=_issuer(claims, signer),
        node=claims.identity("aud", Role.NODE),
        owner=claims.identity("sub", Role.USER),
        slice=claims.slice_name(),
        slice_id=claims.slice_id(),
        jti=claims.jti(),
        leaselen=claims.number("leaselen", 1, MAX_LEASELEN),
        issued_at=claims.moment("iat"),
        expires_at=claims.moment("exp"),
        needs=claims.needs() if needs else NOTHING,
    )
    if ticket.node != audience:
        raise Refusal(Code.NOT_ALLOWED, f"this ticket is for {ticket.node}, not {audience}; use it there")
    _check_times(ticket, TICKET, store)
    _check_life(ticket, TICKET, TICKET_LIFETIME)
    _check_within_certificate(ticket, TICKET, signer)
    return ticket


def verify_lease(token: str, *, store: TrustStore) -> Lease:
    """The lease, running at this moment; that its node, slice, owner and end are as asked for is the caller's to check.

    Raises Refusal: BAD_INPUT malformed, NOT_AUTHENTICATED, REVOKED or NOT_ALLOWED for its signer, NOT_ALLOWED expired.
    """
    claims, signer = _opened(token, of_type(token, LEASE, LEASE_2), store)
    needs = ("needs",) if claims.document is LEASE_2 else ()
    claims.require_exactly((*_TIMES, "sub", "slice", "slice_id", "generation", *needs))
    lease = Lease(
        issuer=_issuer(claims, signer),
        owner=claims.identity("sub", Role.USER),
        slice=claims.slice_name(),
        slice_id=claims.slice_id(),
        generation=claims.number("generation", 1, MAX_GENERATION),
        jti=claims.jti(),
        issued_at=claims.moment("iat"),
        expires_at=claims.moment("exp"),
        needs=claims.needs() if needs else NOTHING,
    )
    _check_times(lease, LEASE, store)
    _check_life(lease, LEASE, MAX_LEASELEN + SKEW)
    return lease


def verify_delegation(token: str, *, store: TrustStore, audience: Identity | None) -> Delegation:
    """The delegation, good at this moment; ``audience`` is whom it must be for (None: anybody).

    Raises Refusal: BAD_INPUT malformed, NOT_AUTHENTICATED or REVOKED for its signer, NOT_ALLOWED for a signer who is
    no PI (they alone may change slices, and nobody can pass on more than they have), another's, or an expired one.
    """
    claims, signer = _opened(token, DELEGATION, store)
    if not signer.pi:
        raise Refusal(Code.NOT_ALLOWED, f"{signer.identity} is not a PI; only PIs can change slices; ask your PI")
    kind = _kind(claims)
    heal = ("heal",) if kind is DelegationKind.STANDING else ()
    claims.require_exactly((*_TIMES, "sub", "slice", "kind", *heal))
    delegation = Delegation(
        issuer=_issuer(claims, signer),
        svm=claims.identity("sub", Role.SVM, Role.AGENT),
        slice=claims.slice_name(),
        kind=kind,
        jti=claims.jti(),
        issued_at=claims.moment("iat"),
        expires_at=claims.moment("exp"),
        heal=claims.flag("heal") if heal else False,
    )
    if audience is not None and delegation.svm != audience:
        raise Refusal(Code.NOT_ALLOWED, f"this delegation is for {delegation.svm}, not {audience}; sign another")
    _check_times(delegation, DELEGATION, store)
    if kind is DelegationKind.WORKING:
        _check_life(delegation, DELEGATION, WORKING_LIFETIME)
    _check_within_certificate(delegation, DELEGATION, signer)
    return delegation


def _common(document: Ticket | Lease | Delegation) -> dict[str, object]:
    return {
        "iss": document.issuer.uri,
        "iat": int(document.issued_at.timestamp()),
        "exp": int(document.expires_at.timestamp()),
        "jti": document.jti,
    }


def _needs_claim(document: Ticket | Lease) -> dict[str, object]:
    return {"needs": document.needs.to_json()} if document.needs else {}


def _opened(token: str, document: DocumentType, store: TrustStore) -> tuple[Claims, Peer]:
    values, signer = open_document(token, document, store)
    return Claims(document, values), signer


def _issuer(claims: Claims, signer: Peer) -> Identity:
    """``iss``, which is the signing certificate's own identity."""
    if claims.text("iss") != signer.identity.uri:
        raise Refusal(
            Code.NOT_AUTHENTICATED,
            f"this {claims.document.title} names another issuer than its signer {signer.identity}; ask for a new one",
        )
    return signer.identity


def _kind(claims: Claims) -> DelegationKind:
    text = claims.text("kind")
    if text not in set(DelegationKind):
        raise Refusal(
            Code.BAD_INPUT, f"a delegation of kind {text[:40]!a} is unknown here; sign a working or standing one"
        )
    return DelegationKind(text)


def _check_times(document: Ticket | Lease | Delegation, kind: DocumentType, store: TrustStore) -> None:
    """Begun and not yet over, give or take the skew between two clocks."""
    now, skew = store.clock.now(), timedelta(seconds=SKEW)
    if document.expires_at <= document.issued_at:
        raise malformed(kind, "ends before it begins")
    if document.issued_at > now + skew:
        raise Refusal(Code.NOT_ALLOWED, f"this {kind.title} was issued in the future; check both clocks")
    if document.expires_at <= now - skew:
        code = Code.TICKET_EXPIRED if kind is TICKET else Code.NOT_ALLOWED
        raise Refusal(code, f"this {kind.title} expired at {document.expires_at:%Y-%m-%d %H:%M:%S} UTC; get a new one")


def _check_life(document: Ticket | Lease | Delegation, kind: DocumentType, longest: int) -> None:
    if document.expires_at - document.issued_at > timedelta(seconds=longest):
        raise Refusal(Code.NOT_ALLOWED, f"this {kind.title} would live for more than {longest} s; get a new one")


def _check_within_certificate(document: Ticket | Lease | Delegation, kind: DocumentType, signer: Peer) -> None:
    if document.expires_at > signer.not_after:
        raise Refusal(Code.NOT_ALLOWED, f"this {kind.title} would outlive its signer's certificate; get a new one")
