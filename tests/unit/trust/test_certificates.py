import base64
import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.unit.trust import factories as make
from tests.unit.trust.factories import NOW, USER
from trust.certificates import (
    Authority,
    CertificateKey,
    certificate_from_pem,
    certificate_to_pem,
    fingerprint,
    key_fits,
    key_to_pem,
    new_private_key,
    new_request,
    public_key_of_request,
)
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.keys import MAX_PEM, key_from_pem

SERVICES = [make.AGENT, make.NODE, make.SVM, make.PLC]


def test_users_have_rsa_keys_and_services_p256() -> None:
    assert all(key_fits(role, make.key_of(role).public_key()) for role in Role)
    assert isinstance(make.key_of(Role.USER), rsa.RSAPrivateKey)
    assert isinstance(new_private_key(Role.NODE), ec.EllipticCurvePrivateKey)


@pytest.mark.parametrize(("bits", "fits"), [(1024, False), (2047, False), (2048, True), (4096, True), (4097, False)])
def test_a_users_rsa_key_has_2048_to_4096_bits(bits: int, fits: bool) -> None:
    assert key_fits(Role.USER, make.rsa_key_of_bits(bits)) is fits


def test_other_keys_fit_nobody() -> None:
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    p256 = make.key_of(Role.NODE).public_key()
    assert not any(key_fits(Role.USER, key) for key in (p256, make.p384_key(), edwards, None))
    for role in set(Role) - {Role.USER}:
        assert not any(key_fits(role, key) for key in (make.rsa_key_of_bits(2048), make.p384_key(), edwards))


def test_pem_and_back() -> None:
    for role in (Role.USER, Role.NODE):
        key = make.key_of(role)
        assert key_to_pem(key_from_pem(key_to_pem(key))) == key_to_pem(key_from_pem(key_to_pem(key).encode()))
    certificate = make.certificate_of(USER)
    assert certificate_from_pem(certificate_to_pem(certificate)) == certificate


@pytest.mark.parametrize("pem", ["", "\ud800", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_pem_is_refused(pem: str) -> None:
    for load in (key_from_pem, certificate_from_pem, public_key_of_request, Authority.from_pem):
        with pytest.raises(Refusal) as refusal:
            load(pem)
        assert refusal.value.code is Code.BAD_INPUT


def test_pem_longer_than_any_of_ours_is_refused() -> None:
    certificate = certificate_to_pem(make.certificate_of(USER))
    assert certificate_from_pem("#" * (MAX_PEM - len(certificate)) + certificate)
    with pytest.raises(Refusal) as refusal:
        certificate_from_pem("#" * (MAX_PEM - len(certificate) + 1) + certificate)
    assert refusal.value.code is Code.BAD_INPUT


@pytest.mark.parametrize(
    ("kind", "encryption"),
    [("ed25519", serialization.NoEncryption()), ("p256", serialization.BestAvailableEncryption(b"secret"))],
)
def test_a_private_key_of_another_type_or_with_a_password_is_refused(
    kind: str, encryption: serialization.KeySerializationEncryption
) -> None:
    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else make.key_of(Role.NODE)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    with pytest.raises(Refusal) as refusal:
        key_from_pem(pem)
    assert refusal.value.code is Code.BAD_INPUT


def test_a_fingerprint_is_64_hex_digits_as_openssl_counts_them() -> None:
    certificate = make.certificate_of(USER)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(make.der(certificate))
    assert fingerprint(certificate) == digest.finalize().hex()


@pytest.mark.parametrize("identity", [USER, make.NODE])
def test_a_request_gives_its_public_key(identity: Identity) -> None:
    key = make.key_of(identity.role)
    assert public_key_of_request(new_request(key, identity)) == key.public_key()


def test_a_request_signed_with_another_key_is_refused() -> None:
    request = x509.load_pem_x509_csr(new_request(make.key_of(Role.NODE), make.NODE).encode())
    pem = request.public_bytes(serialization.Encoding.DER)
    stranger = make.key_of(Role.NODE, 1).public_key()
    swapped = pem.replace(_point(request.public_key()), _point(stranger))
    forged = x509.load_der_x509_csr(swapped)
    assert forged.public_key() == stranger
    with pytest.raises(Refusal) as refusal:
        public_key_of_request(forged.public_bytes(serialization.Encoding.PEM))
    assert refusal.value.code is Code.BAD_INPUT


def test_a_request_with_a_key_of_another_type_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    with pytest.raises(Refusal) as refusal:
        public_key_of_request(request.public_bytes(serialization.Encoding.PEM))
    assert refusal.value.code is Code.BAD_INPUT


@pytest.mark.parametrize(
    ("known", "unknown"),
    [("2a8648ce3d0201", "2a8648ce3d0207"), ("2a8648ce3d030107", "2a8648ce3d030109")],
    ids=["key type", "curve"],
)
def test_a_request_with_an_unknown_kind_of_key_is_refused(known: str, unknown: str) -> None:
    request = x509.load_pem_x509_csr(new_request(make.key_of(Role.NODE), make.NODE).encode())
    der = request.public_bytes(serialization.Encoding.DER)
    strange = base64.encodebytes(der.replace(bytes.fromhex(known), bytes.fromhex(unknown))).decode()
    with pytest.raises(Refusal) as refusal:
        public_key_of_request(f"-----BEGIN CERTIFICATE REQUEST-----\n{strange}-----END CERTIFICATE REQUEST-----\n")
    assert refusal.value.code is Code.BAD_INPUT


def _point(key: object) -> bytes:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def test_the_root_signs_leaves_only_and_lives_long() -> None:
    root = make.authority().certificate
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    assert root.not_valid_after_utc > NOW + timedelta(days=19 * 365)
    root.verify_directly_issued_by(root)


def test_an_authority_is_kept_as_pem() -> None:
    twin = Authority.from_pem(make.authority().to_pem())
    assert twin.certificate == make.authority().certificate
    assert key_to_pem(twin.key) == key_to_pem(make.authority().key)


def test_an_authority_of_two_halves_is_refused() -> None:
    ours, other = make.authority(), make.authority(1)
    rsa_pair = key_to_pem(make.key_of(Role.USER)) + certificate_to_pem(make.certificate_of(USER))
    for pem in (key_to_pem(ours.key) + certificate_to_pem(other.certificate), rsa_pair):
        with pytest.raises(Refusal) as refusal:
            Authority.from_pem(pem)
        assert refusal.value.code is Code.BAD_INPUT


@pytest.mark.parametrize("identity", [USER, make.NODE], ids=str)
def test_a_leaf_signs_data_and_names_both_keys(identity: Identity) -> None:
    """What strict verifiers ask for (RFC 5280, section 4.2.1); OpenSSL does from Python 3.13 on."""
    extensions = make.certificate_of(identity).extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value == x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    root = make.authority().certificate.extensions
    assert issuer == root.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest != issuer


def test_a_users_certificate_is_for_clients_and_says_pi() -> None:
    certificate = make.certificate_of(USER, pi=True)
    assert _usages(certificate) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert _names(certificate).get_values_for_type(x509.UniformResourceIdentifier) == [USER.uri]
    assert len(list(_names(certificate))) == 1
    assert _units(certificate) == ["PI"]
    plain = make.authority().issue(USER, make.key_of(Role.USER).public_key(), now=NOW, lifetime=100)
    assert _units(make.certificate_of(USER, pi=False)) == _units(plain) == []


@pytest.mark.parametrize("identity", SERVICES, ids=str)
def test_a_services_certificate_is_for_both_ends_and_names_its_addresses(identity: Identity) -> None:
    certificate = make.certificate_of(identity)
    assert _usages(certificate) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    names = _names(certificate)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [identity.uri]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_a_certificate_starts_a_minute_early_and_ends_in_time() -> None:
    certificate = make.certificate_of(USER, lifetime=1000)
    assert certificate.not_valid_before_utc == NOW - timedelta(seconds=60)
    assert certificate.not_valid_after_utc == NOW + timedelta(seconds=1000)


def test_no_certificate_outlives_the_root() -> None:
    root = make.authority().certificate
    certificate = make.certificate_of(USER, lifetime=30 * 365 * make.DAY)
    assert certificate.not_valid_after_utc == root.not_valid_after_utc


def test_a_long_email_is_whole_in_the_identity() -> None:
    identity = Identity.user("a" * 64 + "@" + "b" * 60 + ".org")
    certificate = make.certificate_of(identity)
    assert _names(certificate).get_values_for_type(x509.UniformResourceIdentifier) == [identity.uri]
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "a" * 64


@pytest.mark.parametrize(
    ("identity", "key"),
    [(USER, "p256"), (USER, "rsa-1024"), (make.NODE, "rsa-2048"), (make.NODE, "p384")],
    ids=str,
)
def test_a_key_of_the_wrong_type_gets_no_certificate(identity: Identity, key: str) -> None:
    keys: dict[str, CertificateKey] = {
        "p256": make.key_of(Role.NODE).public_key(),
        "p384": make.p384_key(),
        "rsa-1024": make.rsa_key_of_bits(1024),
        "rsa-2048": make.rsa_key_of_bits(2048),
    }
    with pytest.raises(Refusal) as refusal:
        make.authority().issue(identity, keys[key], now=NOW, lifetime=100)
    assert refusal.value.code is Code.BAD_INPUT
    assert ("RSA of 2048" if identity is USER else "P-256") in refusal.value.reason


@pytest.mark.parametrize(
    ("identity", "addresses", "pi", "word"),
    [
        (USER, ["127.0.0.1"], False, "no address"),
        (make.NODE, [], True, "PI"),
        (make.NODE, ["not a name"], False, "host name"),
        (make.NODE, ["*.x.org"], False, "host name"),
        (make.NODE, ["x.org", ""], False, "host name"),
    ],
)
def test_what_does_not_belong_in_a_certificate_is_refused(
    identity: Identity, addresses: list[str], pi: bool, word: str
) -> None:
    key = make.key_of(identity.role).public_key()
    with pytest.raises(Refusal) as refusal:
        make.authority().issue(identity, key, now=NOW, lifetime=100, addresses=addresses, pi=pi)
    assert refusal.value.code is Code.BAD_INPUT
    assert word in refusal.value.reason


def _usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def _units(certificate: x509.Certificate) -> list[str | bytes]:
    return [unit.value for unit in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
