"""What signed documents say: strict types, audiences, times and the longest life of each."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust import factories as make
from tests.unit.trust.factories import DAY, NODE, NOW, SVM, USER, StillClock
from trust.documents import (
    Delegation,
    DelegationKind,
    Lease,
    Ticket,
    sign_delegation,
    sign_lease,
    sign_ticket,
    verify_delegation,
    verify_lease,
    verify_ticket,
)
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import DELEGATION, LEASE, LEASE_2, TICKET, TICKET_2, DocumentType, open_document, sign
from trust.needs import Needs

Document = Ticket | Lease | Delegation
STANDING = DelegationKind.STANDING
TYPES = {"ticket": TICKET, "lease": LEASE, "working": DELEGATION, "standing": DELEGATION}
TYPES |= {"ticket-2": TICKET_2, "lease-2": LEASE_2}
SIGNERS = {TICKET: make.AGENT, TICKET_2: make.AGENT, LEASE: NODE, LEASE_2: NODE, DELEGATION: USER}
NEEDS = Needs(memory_mb=4096, disk_mb=10_000, processes=64, cpu=200, image="bookworm", digest="ab" * 32)
FORM = [*((name, claim) for name in TYPES for claim in ("iss", "iat", "exp", "jti", "sub", "slice"))]
FORM += [
    ("ticket", "aud"),
    ("ticket", "slice_id"),
    ("ticket", "leaselen"),
    ("lease", "slice_id"),
    ("lease", "generation"),
]
FORM += [("ticket-2", "needs"), ("lease-2", "needs")]
FORM += [("working", "kind"), ("standing", "kind"), ("standing", "heal")]


def after(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def claims_of(name: str) -> dict[str, Any]:
    common = {"iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 3600, "jti": "x-1", "slice": "oceanstore"}
    issuer = {"iss": SIGNERS[TYPES[name]].uri}
    slice_id = {"slice_id": str(make.SLICE_ID)}
    own: dict[str, dict[str, Any]] = {
        "ticket": {"aud": NODE.uri, "sub": USER.uri, "leaselen": 1_209_600} | slice_id,
        "lease": {"sub": USER.uri, "generation": 1} | slice_id,
        "working": {"sub": SVM.uri, "kind": "working"},
        "standing": {"sub": SVM.uri, "kind": "standing", "heal": True},
    }
    needs = {"needs": NEEDS.to_json()} if name.endswith("-2") else {}
    return common | issuer | own[name.removesuffix("-2")] | needs


def signed(document: DocumentType, claims: dict[str, Any]) -> str:
    signer = SIGNERS[document]
    return sign(document, claims, make.key_of(signer.role), make.certificate_of(signer))


def verify(document: DocumentType, token: str, *, clock: StillClock | None = None) -> Document:
    store = make.store_of(clock=clock)
    if document in (TICKET, TICKET_2):
        return verify_ticket(token, store=store, audience=NODE)
    if document in (LEASE, LEASE_2):
        return verify_lease(token, store=store)
    return verify_delegation(token, store=store, audience=SVM)


def refused(name: str, claims: dict[str, Any]) -> Code:
    with pytest.raises(Refusal) as refusal:
        verify(TYPES[name], signed(TYPES[name], claims))
    return refusal.value.code


def sign_value(value: Document, *, lifetime: int = 30 * DAY, pi: bool = True) -> str:
    key = make.key_of(value.issuer.role)
    certificate = make.certificate_of(value.issuer, lifetime=lifetime, pi=pi)
    match value:
        case Ticket():
            return sign_ticket(value, key, certificate)
        case Lease():
            return sign_lease(value, key, certificate)
        case Delegation():
            return sign_delegation(value, key, certificate)


def outcome(value: Document, *, lifetime: int = 30 * DAY, clock: StillClock | None = None) -> Code | None:
    """The code it is refused with, or None if it is taken, and then for what it is."""
    kind = {Ticket: TICKET, Lease: LEASE, Delegation: DELEGATION}[type(value)]
    try:
        assert verify(kind, sign_value(value, lifetime=lifetime), clock=clock) == value
    except Refusal as refusal:
        return refusal.code
    return None


VALUES = [make.ticket(), make.lease(), make.delegation(), make.delegation(kind=STANDING, heal=True)]
VALUES += [make.ticket(needs=NEEDS), make.lease(needs=Needs(memory_mb=16))]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_is_signed_is_read(value: Document) -> None:
    assert outcome(value) is None


@given(
    st.integers(1, 1_209_600), st.uuids(), st.from_regex(r"[a-z][a-z0-9_]{5,30}", fullmatch=True), st.integers(1, 3600)
)
def test_any_ticket_reads_as_it_was_signed(leaselen: int, slice_id: UUID, name: str, seconds: int) -> None:
    value = make.ticket(leaselen=leaselen, slice_id=slice_id, slice=name + "_", expires_at=after(seconds))
    if len(value.slice) <= 31:
        assert outcome(value) is None


@pytest.mark.parametrize("name", TYPES)
def test_the_claims_as_they_should_be_are_taken(name: str) -> None:
    assert verify(TYPES[name], signed(TYPES[name], claims_of(name)))


@pytest.mark.parametrize(("name", "claim"), FORM)
def test_a_missing_claim_is_refused(name: str, claim: str) -> None:
    claims = claims_of(name)
    del claims[claim]
    assert refused(name, claims) is Code.BAD_INPUT


@pytest.mark.parametrize("name", TYPES)
def test_a_claim_more_is_refused(name: str) -> None:
    assert refused(name, claims_of(name) | {"nbf": 0}) is Code.BAD_INPUT


@pytest.mark.parametrize("heal", [True, False])
def test_a_working_delegation_does_not_speak_of_healing(heal: bool) -> None:
    assert refused("working", claims_of("working") | {"heal": heal}) is Code.BAD_INPUT
    with pytest.raises(Refusal) as refusal:
        make.delegation(heal=True)
    assert refusal.value.code is Code.BAD_INPUT


@pytest.mark.parametrize(
    "value", [None, True, 1.0, -1, 10**13, 10**400, "1", "", [], {}, ["x"]], ids=lambda v: repr(v)[:9]
)
@pytest.mark.parametrize(("name", "claim"), FORM)
def test_a_claim_of_another_type_is_refused(name: str, claim: str, value: object) -> None:
    if (claim, value) in (("jti", "1"), ("heal", True)) and type(value) is not float:
        return
    code = refused(name, claims_of(name) | {claim: value})
    assert code is (Code.NOT_AUTHENTICATED if claim == "iss" and isinstance(value, str) else Code.BAD_INPUT)


@pytest.mark.parametrize(
    ("name", "claim", "value"),
    [
        ("ticket", "leaselen", 0),
        ("ticket", "leaselen", 1_209_601),
        ("lease", "generation", 0),
        ("lease", "generation", 2**31),
        ("ticket", "slice", "Oceanstore"),
        ("lease", "slice", "../etc"),
        ("working", "slice", "root"),
        ("ticket", "slice_id", str(make.SLICE_ID).upper()),
        ("ticket", "slice_id", make.SLICE_ID.hex),
        ("lease", "slice_id", "{" + str(make.SLICE_ID) + "}"),
        ("ticket", "jti", "a" * 65),
        ("ticket", "jti", "../x"),
        ("lease", "jti", "x\n"),
        ("working", "jti", "\ud800"),
        ("ticket", "sub", SVM.uri),
        ("ticket", "aud", SVM.uri),
        ("lease", "sub", NODE.uri),
        ("working", "sub", USER.uri),
        ("standing", "sub", NODE.uri),
        ("standing", "sub", SVM.uri.upper()),
        ("working", "kind", "sleeping"),
        ("working", "kind", "WORKING"),
        ("standing", "heal", 1),
        ("ticket-2", "needs", {}),
        ("lease-2", "needs", {"memory_mb": "4096"}),
        ("ticket-2", "needs", {"memory_mb": 15}),
        ("ticket-2", "needs", {"cpu": True}),
        ("ticket-2", "needs", {"image": "../x"}),
        ("ticket-2", "needs", {"digest": "ab" * 32}),
        ("ticket-2", "needs", {"colour": "red"}),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, claim: str, value: object) -> None:
    with pytest.raises(Refusal) as refusal:
        verify(TYPES[name], signed(TYPES[name], claims_of(name) | {claim: value}))
    assert refusal.value.code is Code.BAD_INPUT
    assert claim in refusal.value.reason
    assert TYPES[name].title in refusal.value.reason


@pytest.mark.parametrize("name", TYPES)
def test_the_issuer_is_the_signer(name: str) -> None:
    signer = SIGNERS[TYPES[name]]
    other = Identity(signer.role, "a@b.org" if signer.role is Role.USER else "other")
    assert refused(name, claims_of(name) | {"iss": other.uri}) is Code.NOT_AUTHENTICATED


def test_a_ticket_is_for_one_node() -> None:
    assert outcome(make.ticket(node=Identity(Role.NODE, "n2"))) is Code.NOT_ALLOWED


def test_a_delegation_is_for_one_service_manager() -> None:
    value = make.delegation(svm=Identity(Role.SVM, "other"))
    assert outcome(value) is Code.NOT_ALLOWED
    assert verify_delegation(sign_value(value), store=make.store_of(), audience=None) == value


def test_who_is_no_pi_delegates_nothing() -> None:
    token = sign_value(make.delegation(), pi=False)
    with pytest.raises(Refusal) as refusal:
        verify_delegation(token, store=make.store_of(), audience=SVM)
    assert refusal.value.code is Code.NOT_ALLOWED
    assert "PI" in refusal.value.reason


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (make.ticket(expires_at=after(100)), Code.TICKET_EXPIRED),
        (make.lease(expires_at=after(100)), Code.NOT_ALLOWED),
        (make.delegation(expires_at=after(100)), Code.NOT_ALLOWED),
        (make.delegation(kind=STANDING, expires_at=after(100)), Code.NOT_ALLOWED),
    ],
    ids=["ticket", "lease", "working", "standing"],
)
def test_an_end_holds_give_or_take_the_skew(value: Document, code: Code) -> None:
    assert outcome(value, clock=StillClock(after(129))) is None
    assert outcome(value, clock=StillClock(after(130))) is code


@pytest.mark.parametrize("make_value", [make.ticket, make.lease, make.delegation])
def test_a_beginning_holds_give_or_take_the_skew(make_value: Any) -> None:
    assert outcome(make_value(issued_at=after(30), expires_at=after(60))) is None
    assert outcome(make_value(issued_at=after(31), expires_at=after(60))) is Code.NOT_ALLOWED


@pytest.mark.parametrize(
    ("make_value", "longest"), [(make.ticket, 3600), (make.lease, 1_209_630), (make.delegation, DAY)]
)
def test_no_document_lives_longer_than_its_kind_may(make_value: Any, longest: int) -> None:
    assert outcome(make_value(expires_at=after(longest))) is None
    assert outcome(make_value(expires_at=after(longest + 1))) is Code.NOT_ALLOWED


def test_a_standing_delegation_lives_as_long_as_its_certificate() -> None:
    value = make.delegation(kind=STANDING, expires_at=after(30 * DAY))
    assert outcome(value) is None
    assert outcome(value, lifetime=30 * DAY - 1) is Code.NOT_ALLOWED


@pytest.mark.parametrize("value", [make.ticket(), make.delegation()], ids=["ticket", "working"])
def test_no_ticket_or_delegation_outlives_its_certificate(value: Document) -> None:
    seconds = int((value.expires_at - NOW).total_seconds())
    assert outcome(value, lifetime=seconds) is None
    assert outcome(value, lifetime=seconds - 1) is Code.NOT_ALLOWED


def test_a_lease_may_outlive_its_nodes_certificate() -> None:
    assert outcome(make.lease(), lifetime=DAY) is None


def test_a_document_whose_signer_expired_is_refused() -> None:
    assert outcome(make.lease(), lifetime=100, clock=StillClock(after(101))) is Code.NOT_AUTHENTICATED


def test_fractions_of_a_second_are_dropped() -> None:
    value = make.lease(
        issued_at=NOW + timedelta(microseconds=999_999), expires_at=after(50) + timedelta(microseconds=1)
    )
    assert verify(LEASE, sign_value(value)) == make.lease(issued_at=NOW, expires_at=after(50))


@pytest.mark.parametrize("seconds", [0, -1, -20])
@pytest.mark.parametrize("make_value", [make.ticket, make.lease, make.delegation])
def test_what_ends_before_it_begins_is_refused_within_the_skew_too(make_value: Any, seconds: int) -> None:
    assert outcome(make_value(issued_at=NOW, expires_at=after(seconds))) is Code.BAD_INPUT


@pytest.mark.parametrize(("document", "make_value"), [(TICKET, make.ticket), (LEASE, make.lease)])
def test_what_needs_nothing_is_as_it_always_was_and_an_older_program_refuses_the_rest(
    document: DocumentType, make_value: Any
) -> None:
    store = make.store_of()
    assert "needs" not in open_document(sign_value(make_value()), document, store)[0]
    with pytest.raises(Refusal) as refusal:
        open_document(sign_value(make_value(needs=NEEDS)), document, store)
    assert refusal.value.code is Code.BAD_INPUT
    assert f"this {document.title} must have alg ES256, typ {document.typ}" in refusal.value.reason
