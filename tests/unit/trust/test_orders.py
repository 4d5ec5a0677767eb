"""Orders to remove slivers: who may sign one, and what is no order."""

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509

from tests.unit.trust import factories as make
from tests.unit.trust.factories import DAY, NODE, NOW, PLC, SLICE_ID, USER, StillClock
from trust.authorize import require_operator
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.jws import DELEGATION, sign
from trust.keys import PrivateKey
from trust.orders import BY_ADMIN, ORDER_LIFETIME, Order, Signer, new_order, sign_order, verify_order

ADMIN = Identity.user("root@planet-lab.org")


@cache
def admins(lifetime: int = 30 * DAY) -> x509.Certificate:
    key = make.key_of(Role.USER).public_key()
    return make.authority().issue(ADMIN, key, now=NOW, lifetime=lifetime, admin=True)


def order(**changes: Any) -> Order:
    end = NOW + timedelta(days=30)
    return replace(new_order(ADMIN, NODE, "oceanstore", SLICE_ID, "abuse", NOW, end), **changes)


def signed(made: Order, key: PrivateKey | None = None, certificate: x509.Certificate | None = None) -> str:
    return sign_order(made, key or make.key_of(Role.USER), certificate or admins())


def refused(token: str, signer: Signer, code: Code, revoked: int = 0, clock: StillClock | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        verify_order(token, signer, make.store_of(*[revoked] * bool(revoked), clock=clock))
    assert caught.value.code is code, caught.value.reason
    return caught.value.reason


def test_an_admins_order_comes_back_as_it_was_signed() -> None:
    for made in (order(), order(node=None)):
        assert verify_order(signed(made), Signer.ADMIN, make.store_of()) == made
        assert made.is_for(NODE)
        assert made.is_for(Identity(Role.NODE, "n2")) is (made.node is None)


def test_at_plc_the_ca_signs() -> None:
    made = order(issuer=PLC)
    token = sign_order(made, make.authority().key, None)
    assert verify_order(token, Signer.PLC, make.store_of()) == made
    another = sign_order(made, make.authority(1).key, None)
    refused(another, Signer.PLC, Code.NOT_AUTHENTICATED)
    refused(token, Signer.ADMIN, Code.BAD_INPUT)
    refused(signed(order()), Signer.PLC, Code.BAD_INPUT)
    refused(sign_order(order(), make.authority().key, None), Signer.PLC, Code.NOT_AUTHENTICATED)


@pytest.mark.parametrize("pi", [True, False])
def test_an_owner_orders_nothing_even_about_his_own(pi: bool) -> None:
    certificate = make.certificate_of(USER, pi=pi)
    reason = refused(signed(order(issuer=USER), certificate=certificate), Signer.ADMIN, Code.NOT_ALLOWED)
    assert "is not an admin" in reason


@pytest.mark.parametrize("role", [Role.AGENT, Role.NODE, Role.SVM, Role.PLC])
def test_no_service_orders_anything(role: Role) -> None:
    """Neither under its own name nor under an admin's; nor does plc's everyday key, which is not the CA's."""
    who = Identity(role, "plc" if role is Role.PLC else "main")
    claims = {"iss": who.uri, "iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 60, "jti": "x"}
    claims |= {"node": NODE.uri, "slice": "oceanstore", "slice_id": str(SLICE_ID), "reason": "abuse"}
    document = replace(BY_ADMIN, algorithm="ES256")
    token = sign(document, claims, make.key_of(role), make.certificate_of(who))
    for signer in Signer:
        refused(token, signer, Code.BAD_INPUT)
    bare = sign_order(order(issuer=PLC), make.key_of(role, 7), None)
    refused(bare, Signer.PLC, Code.NOT_AUTHENTICATED)


def test_another_kind_of_document_is_no_order() -> None:
    token = sign(DELEGATION, {"iss": ADMIN.uri}, make.key_of(Role.USER), admins())
    refused(token, Signer.ADMIN, Code.BAD_INPUT)


def test_nobody_orders_under_anothers_name() -> None:
    refused(signed(order(issuer=Identity.user("other@planet-lab.org"))), Signer.ADMIN, Code.NOT_AUTHENTICATED)


def test_an_admin_who_is_none_any_more() -> None:
    refused(signed(order()), Signer.ADMIN, Code.REVOKED, revoked=admins().serial_number)


def test_an_order_ends() -> None:
    token = signed(order())
    late = StillClock(NOW + timedelta(seconds=ORDER_LIFETIME + 31))
    refused(token, Signer.ADMIN, Code.NOT_ALLOWED, clock=late)
    early = StillClock(NOW - timedelta(seconds=31))
    refused(sign_order(order(issuer=PLC), make.authority().key, None), Signer.PLC, Code.NOT_ALLOWED, clock=early)
    longer = order(expires_at=NOW + timedelta(seconds=ORDER_LIFETIME + 1))
    refused(signed(longer), Signer.ADMIN, Code.BAD_INPUT)


def test_it_never_outlives_its_signers_certificate() -> None:
    end = NOW + timedelta(hours=1)
    assert new_order(ADMIN, None, "oceanstore", SLICE_ID, "abuse", NOW, end).expires_at == end


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 501, "bell\a"])
def test_a_reason_is_one_line(reason: str) -> None:
    refused(signed(order(reason=reason)), Signer.ADMIN, Code.BAD_INPUT)


def test_who_operates() -> None:
    store = make.store_of()
    every = frozenset(Role)
    require_operator(store.peer(admins(), every))
    require_operator(store.peer(make.certificate_of(PLC), every))
    for who in (USER, make.AGENT, NODE, make.SVM):
        with pytest.raises(Refusal) as caught:
            require_operator(store.peer(make.certificate_of(who), every))
        assert caught.value.code is Code.NOT_ALLOWED


def test_only_a_user_is_an_admin_by_certificate() -> None:
    with pytest.raises(Refusal) as caught:
        make.authority().issue(NODE, make.key_of(Role.NODE).public_key(), now=NOW, lifetime=60, admin=True)
    assert caught.value.code is Code.BAD_INPUT
