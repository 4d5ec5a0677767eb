import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust import factories as make
from tests.unit.trust.factories import NOW, USER, Forgery
from trust.certificates import Authority
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.peers import MAX_CERTIFICATE, Peer, verify_certificate

EVERYBODY = frozenset(Role)


def verified(certificate: x509.Certificate | bytes, now: datetime = NOW, roles: frozenset[Role] = EVERYBODY) -> Peer:
    return verify_certificate(certificate, root=make.authority().certificate, now=now, roles=roles)


def refused(certificate: x509.Certificate | bytes, now: datetime = NOW) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        verified(certificate, now)
    return refusal.value


@pytest.mark.parametrize("identity", [USER, make.AGENT, make.NODE, make.SVM, make.PLC], ids=str)
def test_what_plc_issues_is_taken(identity: Identity) -> None:
    certificate = make.certificate_of(identity)
    peer = verified(make.der(certificate))
    assert peer == verified(certificate)
    assert peer.identity == identity
    assert peer.serial == certificate.serial_number
    assert peer.not_before == NOW - timedelta(seconds=60)
    assert peer.not_after == NOW + timedelta(days=30)
    assert peer.certificate == certificate


def test_the_forgery_that_forges_nothing_is_taken() -> None:
    assert verified(Forgery().certificate()).identity == USER


@pytest.mark.parametrize(("pi", "expected"), [(True, True), (False, False)])
def test_a_pi_is_a_user_whose_certificate_says_so(pi: bool, expected: bool) -> None:
    assert verified(make.certificate_of(USER, pi=pi)).pi is expected


def test_only_the_unit_pi_makes_a_pi_and_only_of_users() -> None:
    assert not verified(Forgery(units=["pi", "PIs"]).certificate()).pi
    assert verified(Forgery(units=["Princeton", "PI"]).certificate()).pi
    node = Forgery(units=["PI"], uris=[make.NODE.uri], key=make.key_of(Role.NODE).public_key())
    assert not verified(node.certificate()).pi


def test_a_certificate_is_good_between_its_two_dates() -> None:
    certificate = make.certificate_of(USER, lifetime=100)
    first, last = NOW - timedelta(seconds=60), NOW + timedelta(seconds=100)
    assert verified(certificate, first).identity == verified(certificate, last).identity == USER


def test_an_expired_certificate_is_refused_and_says_so() -> None:
    refusal = refused(make.certificate_of(USER, lifetime=100), NOW + timedelta(seconds=101))
    assert refusal.code is Code.NOT_AUTHENTICATED
    assert "expired at 2027-03-01 12:01 UTC" in refusal.reason
    assert "plkeygen" in refusal.reason


def test_a_certificate_of_the_future_is_refused_and_says_so() -> None:
    refusal = refused(make.certificate_of(USER), NOW - timedelta(seconds=61))
    assert refusal.code is Code.NOT_AUTHENTICATED
    assert "clocks" in refusal.reason


def test_another_ca_of_the_same_name_is_refused() -> None:
    assert make.authority(1).certificate.subject == make.authority().certificate.subject
    assert refused(Forgery(signer=make.authority(1)).certificate()).code is Code.NOT_AUTHENTICATED


def test_a_certificate_that_signs_itself_is_refused() -> None:
    itself = Authority(make.key_of(Role.NODE), make.certificate_of(make.NODE))  # type: ignore[arg-type]
    forgery = Forgery(signer=itself, uris=[make.NODE.uri], key=itself.key.public_key())
    assert refused(forgery.certificate()).code is Code.NOT_AUTHENTICATED


def test_the_root_is_nobody() -> None:
    assert refused(make.authority().certificate).code is Code.NOT_AUTHENTICATED


def test_a_leaf_that_is_a_ca_is_refused() -> None:
    assert refused(Forgery(is_ca=True).certificate()).code is Code.NOT_AUTHENTICATED


def test_a_leaf_that_a_leaf_signed_is_refused() -> None:
    node = Authority(make.key_of(Role.NODE), make.certificate_of(make.NODE))  # type: ignore[arg-type]
    assert refused(Forgery(signer=node).certificate()).code is Code.NOT_AUTHENTICATED


def test_a_leaf_that_outlives_the_root_counts_for_nothing_after_it() -> None:
    end = make.authority().certificate.not_valid_after_utc
    forgery = Forgery(not_after=end + timedelta(days=9)).certificate()
    assert verified(forgery, end - timedelta(days=1)).identity == USER
    assert refused(forgery, end + timedelta(days=1)).code is Code.NOT_AUTHENTICATED


@pytest.mark.parametrize(
    "usages",
    [None, [ExtendedKeyUsageOID.SERVER_AUTH], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]],
    ids=["none", "server", "any"],
)
def test_a_certificate_that_does_not_name_client_auth_is_refused(usages: list[x509.ObjectIdentifier] | None) -> None:
    assert refused(Forgery(usages=usages).certificate()).code is Code.NOT_AUTHENTICATED


@pytest.mark.parametrize(
    "uris",
    [
        [],
        [USER.uri, make.NODE.uri],
        [USER.uri, USER.uri],
        ["spiffe://planet-lab/user/LLP@cs.princeton.edu"],
        ["spiffe://planet-lab/king/llp"],
        ["https://planet-lab/user/llp@cs.princeton.edu"],
    ],
)
def test_a_certificate_names_exactly_one_identity_of_ours(uris: list[str]) -> None:
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    assert refused(Forgery(uris=uris, addresses=[address]).certificate()).code is Code.NOT_AUTHENTICATED


def test_a_certificate_without_any_name_is_refused() -> None:
    assert refused(Forgery(uris=[]).certificate()).code is Code.NOT_AUTHENTICATED


def test_the_common_name_is_ignored() -> None:
    certificate = Forgery().certificate()
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "somebody"
    assert verified(certificate).identity == USER


def test_a_user_with_a_services_key_is_refused() -> None:
    assert refused(Forgery(key=make.key_of(Role.NODE).public_key()).certificate()).code is Code.NOT_AUTHENTICATED


@pytest.mark.parametrize("bits", [1024, 4097])
def test_a_user_with_too_short_or_long_a_key_is_refused(bits: int) -> None:
    assert refused(Forgery(key=make.rsa_key_of_bits(bits)).certificate()).code is Code.NOT_AUTHENTICATED


@pytest.mark.parametrize("role", [Role.AGENT, Role.NODE, Role.SVM, Role.PLC])
def test_a_service_with_another_key_than_p256_is_refused(role: Role) -> None:
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    for key in (make.rsa_key_of_bits(2048), make.p384_key(), edwards):
        forgery = Forgery(uris=[Identity(role, "main").uri], key=key).certificate()
        assert refused(forgery).code is Code.NOT_AUTHENTICATED


def test_a_revoked_certificate_is_refused() -> None:
    certificate = make.certificate_of(USER)
    with pytest.raises(Refusal) as refusal:
        verify_certificate(
            certificate,
            root=make.authority().certificate,
            now=NOW,
            roles={Role.USER},
            revoked={1, certificate.serial_number},
        )
    assert refusal.value.code is Code.REVOKED


@pytest.mark.parametrize("roles", [[], [Role.USER], [Role.AGENT, Role.SVM]])
def test_a_role_that_is_not_asked_for_is_refused(roles: Sequence[Role]) -> None:
    with pytest.raises(Refusal) as refusal:
        verified(make.certificate_of(make.NODE), roles=frozenset(roles))
    assert refusal.value.code is Code.NOT_ALLOWED


def test_a_certificate_of_unheard_of_length_is_refused() -> None:
    names = [x509.DNSName(f"n{number}.planet-lab.org") for number in range(400)]
    long = make.der(Forgery(addresses=names).certificate())
    assert len(long) > MAX_CERTIFICATE
    assert refused(long).code is Code.NOT_AUTHENTICATED


@pytest.mark.parametrize("version", [b"", b"0", b"\x30\x82", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(version: bytes) -> None:
    assert refused(version).code is Code.NOT_AUTHENTICATED


def test_a_certificate_with_an_attribute_that_cannot_be_read_is_refused() -> None:
    """cryptography looks at the subject only to say whose certificate it refuses, and then raises TypeError itself."""
    good = make.der(Forgery(usages=None).certificate())
    strange = good.replace(b"\x0c\x08somebody", b"\x03\x08\x00omebody")
    assert strange != good
    assert refused(strange).code is Code.NOT_AUTHENTICATED


def test_a_certificate_of_an_unknown_version_is_refused() -> None:
    good = make.der(make.certificate_of(USER))
    strange = good.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")
    assert strange != good
    assert refused(strange).code is Code.NOT_AUTHENTICATED


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.data())
def test_whatever_is_changed_in_a_certificate_it_is_refused(data: st.DataObject) -> None:
    original = make.der(make.certificate_of(make.NODE))
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[at]))
    refusal = refused(original[:at] + bytes([byte]) + original[at + 1 :])
    assert refusal.code is Code.NOT_AUTHENTICATED
