"""From a user's request to what models are asked to start: who may, and with whose permission. Decides, does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lifecycle.operations import Given, OperationRequest
from lifecycle.verbs import USER_VERBS, VerbSpec
from models.states import Verb
from svm.service.bodies import OperationBody
from trust.actions import Action
from trust.documents import Delegation, DelegationKind, verify_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.peers import Peer
from trust.store import TrustStore

MAX_AGE = 300
"""Seconds: a delegation that comes with a request was signed for it, so an old one was found somewhere."""
LONGEST_CONNECT = 40
"""Seconds: a step ends within 45, whatever -t says."""
EXTENDED = (Verb.CREATESLICE, Verb.RENEWSLICE)
"""What makes leases, whose end a letter tells of: a delegation for its link may come along."""


@dataclass(frozen=True, slots=True)
class Headers:
    """What came beside the body: a working delegation, a standing one for links in letters, the Idempotency-Key."""

    delegation: str | None = None
    renewal: str | None = None
    key: str | None = None


def authorized_request(
    body: OperationBody, peer: Peer, store: TrustStore, svm: Identity, headers: Headers
) -> OperationRequest:
    """What `lifecycle.operations.start` is to do for this caller, all of it checked but for the rows. Raises Refusal:
    NOT_ALLOWED (not a PI, a delegation that is missing, old or another's), CRL_STALE, BAD_INPUT, or as
    `trust.documents.verify_delegation`.
    """
    row, members = USER_VERBS[body.verb], dict(iter(body))  # its member `keys` would make it a mapping
    require_pi(peer)
    store.require_fresh(_action(row, members))
    if (until := members.get("until")) is not None and until <= store.clock.now():
        raise Refusal(Code.BAD_INPUT, "until is in the past; give a later date")
    working = standing = by_link = None
    if row.chain:
        working = _given(headers.delegation, DelegationKind.WORKING, body.slice, peer, store, svm)
    if headers.renewal is not None and body.verb in EXTENDED:
        by_link = _given(headers.renewal, DelegationKind.STANDING, body.slice, peer, store, svm)
    if (later := members.pop("standing", None)) is not None:
        standing = _given(later, DelegationKind.STANDING, body.slice, peer, store, svm)
        _check_heals(members, standing)
    spec = members.pop("spec", None)
    found: dict[str, Any] = {
        name: tuple(dict.fromkeys(said)) if isinstance(said, list) else said for name, said in members.items()
    }
    found |= {"spec": spec and spec.spec(), "connect_timeout": min(body.connect_timeout, LONGEST_CONNECT)}
    found |= {"working": working, "standing": standing, "by_link": by_link}
    return OperationRequest(**found, owner=peer.identity, idempotency_key=headers.key)


def require_pi(peer: Peer) -> None:
    """Only PIs may change slices (docs/howto.md, "The words"). Raises Refusal(NOT_ALLOWED)."""
    if not peer.pi:
        raise Refusal(
            Code.NOT_ALLOWED, f"{peer.identity.name} is not a PI; only PIs can change slices; ask your site's PI"
        )


def _action(row: VerbSpec, members: Mapping[str, Any]) -> Action:
    """How fresh the revocation list must be: what only takes away, as autorenew and heal off do, works without plc."""
    off = members.get("autorenew") is False or members.get("heal") is False
    return Action.DELETE if off and not row.chain else row.action


def _given(
    token: str | None, kind: DelegationKind, slice_name: str, peer: Peer, store: TrustStore, svm: Identity
) -> Given:
    """A delegation from this caller, made just now, for this slice and this svm."""
    if token is None:
        raise Refusal(Code.NOT_ALLOWED, "this needs a delegation in the header Dslice-Delegation; use svm to ask")
    found = verify_delegation(token, store=store, audience=svm)
    _check_delegation(found, kind, slice_name, peer, store.clock.now())
    return Given(token, found.issued_at, found.expires_at, found.heal)


def _check_delegation(found: Delegation, kind: DelegationKind, slice_name: str, peer: Peer, now: datetime) -> None:
    if found.issuer != peer.identity:
        raise Refusal(Code.NOT_ALLOWED, f"this delegation is from {found.issuer.name}, not from you; sign your own")
    if found.kind is not kind:
        raise Refusal(Code.NOT_ALLOWED, f"this needs a {kind} delegation, not a {found.kind} one; sign another")
    if found.slice != slice_name:
        raise Refusal(Code.NOT_ALLOWED, f"this delegation is for slice {found.slice}, not {slice_name}; sign another")
    if found.issued_at < now - timedelta(seconds=MAX_AGE):
        raise Refusal(
            Code.NOT_ALLOWED, f"this delegation was signed more than {MAX_AGE} s ago; check your clock and try again"
        )


def _check_heals(members: Mapping[str, Any], standing: Given) -> None:
    if members.get("heal") and not standing.heal:
        raise Refusal(Code.NOT_ALLOWED, "heal needs a standing delegation that covers it; sign one with heal")
