"""From a user's request to what models are asked to start: who may, and with whose permission. Decides, does no I/O."""

from datetime import datetime, timedelta

from lifecycle.operations import Given, OperationRequest, Verb
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

ACTIONS = {
    Verb.CREATESLICE: Action.CREATE,
    Verb.NEWTICKETS: Action.CREATE,
    Verb.NEWLEASES: Action.CREATE,
    Verb.NEWVMS: Action.CREATE,
    Verb.ADDKEY: Action.ACCESS,
    Verb.DELKEY: Action.REMOVE_KEYS,
    Verb.NUKEKEYS: Action.REMOVE_KEYS,
    Verb.REKEY: Action.CREATE,
    Verb.RENEWSLICE: Action.RENEW,
    Verb.DELETESLICE: Action.DELETE,
    Verb.CLEAN: Action.DELETE,
    Verb.AUTORENEW: Action.RENEW,
    Verb.DELEGATE: Action.RENEW,
    Verb.HEAL: Action.CREATE,
    Verb.UNDELEGATE: Action.DELETE,
}
# These change no node, so nobody need act for the owner.
WITHOUT_WORKING = (Verb.CLEAN, Verb.AUTORENEW, Verb.DELEGATE, Verb.HEAL, Verb.UNDELEGATE)


def wanted(
    body: OperationBody, peer: Peer, store: TrustStore, svm: Identity, token: str | None, key: str | None
) -> OperationRequest:
    """What `lifecycle.operations.start` is to do for this caller, all of it checked but for the rows. Raises Refusal:
    NOT_ALLOWED (no PI, a delegation that is missing, old or another's), CRL_STALE, BAD_INPUT, or as
    `trust.documents.verify_delegation`.
    """
    verb = Verb(body.verb)
    require_pi(peer)
    store.require_fresh(action_of(verb, body))
    check_body(verb, body, store.clock.now())
    working = standing = None
    if verb not in WITHOUT_WORKING:
        working = _given(token, DelegationKind.WORKING, body.slice, peer, store, svm)
    if body.standing is not None:
        standing = _given(body.standing, DelegationKind.STANDING, body.slice, peer, store, svm)
        _check_heals(body, standing)
    return OperationRequest(
        verb=verb,
        slice=body.slice,
        owner=peer.identity,
        spec=body.spec.spec() if body.spec else None,
        nodes=tuple(dict.fromkeys(body.nodes)),
        keys=tuple(body.keys),
        parallelism=body.parallelism,
        connect_timeout=min(body.connect_timeout, LONGEST_CONNECT),
        agents=tuple(dict.fromkeys(body.agents)),
        working=working,
        standing=standing,
        autorenew=body.autorenew,
        until=body.until,
        heal=body.heal,
        replace=body.replace,
        idempotency_key=key,
    )


def require_pi(peer: Peer) -> None:
    """Only PIs may change slices (docs/howto.md, "The words"). Raises Refusal(NOT_ALLOWED)."""
    if not peer.pi:
        raise Refusal(
            Code.NOT_ALLOWED, f"{peer.identity.name} is not a PI; only PIs can change slices; ask your site's PI"
        )


def action_of(verb: Verb, body: OperationBody) -> Action:
    """How fresh the revocation list must be: what only takes away works without plc."""
    if (verb is Verb.AUTORENEW and body.autorenew is False) or (verb is Verb.HEAL and body.heal is False):
        return Action.DELETE
    return ACTIONS[verb]


def check_body(verb: Verb, body: OperationBody, now: datetime) -> None:
    """Each verb has what it needs, and nothing that it would pass over in silence. Raises Refusal(BAD_INPUT)."""
    creates = verb in (Verb.CREATESLICE, Verb.NEWTICKETS)
    on = body.autorenew is True or body.heal is True
    for wrong, reason in (
        ((verb is Verb.CLEAN) is bool(body.slice), "clean is about all slices, every other verb about one; name it"),
        (creates is (body.spec is None), "spec goes with createslice and newtickets; give it there only"),
        (bool(body.agents) and not creates, "agents go with createslice and newtickets only"),
        (bool(body.nodes) and verb not in (Verb.NEWLEASES, Verb.NEWVMS), "nodes go with newleases and newvms only"),
        ((verb in (Verb.ADDKEY, Verb.DELKEY)) is not bool(body.keys), "keys go with addkey and delkey; give one there"),
        (verb is Verb.AUTORENEW and body.autorenew is None, "say autorenew true or false"),
        (body.autorenew is not None and verb not in (Verb.AUTORENEW, Verb.CREATESLICE), "autorenew has its own verb"),
        (body.until is not None and body.autorenew is not True, "until goes with autorenew true only"),
        (body.until is not None and body.until <= now, "until lies in the past; give a date to come"),
        ((verb is Verb.HEAL) is (body.heal is None), "heal true or false goes with heal only"),
        (body.replace and verb is not Verb.CREATESLICE, "replace goes with createslice only"),
        (
            (on or verb is Verb.DELEGATE) is (body.standing is None),
            "a standing delegation goes with delegate, autorenew true and heal true",
        ),
        (
            creates and bool(body.spec and body.spec.ips and len(body.spec.ips) < body.spec.numnodes),
            "ips lists fewer nodes than numnodes; list more or ask for fewer",
        ),
        (
            creates and bool(body.spec and len(set(body.spec.ips)) < len(body.spec.ips)),
            "ips lists a node twice; keep one",
        ),
    ):
        if wrong:
            raise Refusal(Code.BAD_INPUT, reason)


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


def _check_heals(body: OperationBody, standing: Given) -> None:
    if body.heal is True and not standing.heal:
        raise Refusal(Code.NOT_ALLOWED, "heal needs a standing delegation that covers it; sign one with heal")
