import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust import factories as make
from tests.unit.trust.factories import NOW
from trust.certificates import Authority
from trust.errors import Code, Refusal
from trust.revocation import RevocationList

ROOT = make.authority().certificate
CRL_NUMBER, AUTHORITY_KEY = b"\x55\x1d\x14", b"\x55\x1d\x23"  # 2.5.29.20 and .35 in DER
LIST = x509.load_pem_x509_crl(make.authority().sign_crl([(7, NOW)], number=1, now=NOW)).public_bytes(Encoding.DER)


def forged(signer: Authority, *extensions: tuple[Any, bool], issuer: x509.Name = ROOT.subject) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer)
    builder = builder.last_update(NOW).next_update(NOW + timedelta(hours=1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def refused(pem: bytes | str) -> Code:
    with pytest.raises(Refusal) as refusal:
        RevocationList.parse(pem, ROOT)
    return refusal.value.code


@pytest.mark.parametrize("serials", [[], [7], [1, 2, 2**158]])
def test_a_list_reads_as_it_was_signed(serials: list[int]) -> None:
    pem = make.authority().sign_crl([(serial, NOW) for serial in serials], number=1_800_000_000, now=NOW)
    assert RevocationList.parse(pem, ROOT) == RevocationList(1_800_000_000, NOW, frozenset(serials))
    assert RevocationList.parse(pem.decode(), ROOT) == RevocationList.parse(pem, ROOT)


def test_age_counts_seconds_from_the_signature() -> None:
    known = RevocationList(1, NOW, frozenset())
    assert known.age(NOW + timedelta(seconds=90)) == 90
    assert known.age(NOW - timedelta(seconds=5)) == -5


@pytest.mark.parametrize("pem", ["", b"", "\ud800", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_what_is_no_list_is_refused(pem: bytes | str) -> None:
    assert refused(pem) is Code.BAD_INPUT


def test_a_list_of_another_ca_is_refused() -> None:
    assert refused(make.authority(1).sign_crl([], number=1, now=NOW)) is Code.NOT_AUTHENTICATED


def test_a_list_in_another_name_is_refused() -> None:
    pem = forged(make.authority(), (x509.CRLNumber(1), False), issuer=make.certificate_of(make.NODE).subject)
    assert refused(pem) is Code.NOT_AUTHENTICATED


def test_a_list_without_a_number_is_refused() -> None:
    assert refused(forged(make.authority())) is Code.BAD_INPUT


def test_a_partial_list_is_refused() -> None:
    delta = (x509.DeltaCRLIndicator(1), True)
    assert refused(forged(make.authority(), (x509.CRLNumber(2), False), delta)) is Code.BAD_INPUT


def test_a_list_that_says_something_twice_is_refused() -> None:
    assert refused(_pem(LIST.replace(CRL_NUMBER, AUTHORITY_KEY))) is Code.BAD_INPUT


def test_a_list_with_a_name_of_an_unknown_kind_is_refused() -> None:
    uri = "spiffe://planet-lab/plc/plc"
    pem = forged(make.authority(), (x509.IssuerAlternativeName([x509.UniformResourceIdentifier(uri)]), False))
    der = x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)
    assert refused(_pem(der.replace(b"\x86\x1b" + uri.encode(), b"\xa3\x1b" + uri.encode()))) is Code.BAD_INPUT


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.data())
def test_whatever_is_changed_in_a_list_it_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(LIST) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != LIST[at]))
    changed = _pem(LIST[:at] + bytes([byte]) + LIST[at + 1 :])
    assert refused(changed) in {Code.BAD_INPUT, Code.NOT_AUTHENTICATED}


def _pem(der: bytes) -> str:
    return f"-----BEGIN X509 CRL-----\n{base64.encodebytes(der).decode()}-----END X509 CRL-----\n"
