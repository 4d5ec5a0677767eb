"""plc's certificate revocation list (RFC 5280, section 5)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509

from trust.certificates import UNREADABLE
from trust.errors import Code, Refusal

# A list is signed again after this long even when nothing changed (docs/protocol.md, "Identities").
RESIGN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class RevocationList:
    """The serials of revoked certificates, as plc knew them at ``this_update``; later lists have higher numbers."""

    number: int
    this_update: datetime
    serials: frozenset[int]

    @classmethod
    def parse(cls, pem: bytes | str, root: x509.Certificate) -> Self:
        """The list in a PEM text, signed by the root's key.

        Raises Refusal: BAD_INPUT if it cannot be read or is of another kind (RFC 5280 has partial lists, too),
        NOT_AUTHENTICATED if the root did not sign it.
        """
        try:
            crl = x509.load_pem_x509_crl(pem.encode() if isinstance(pem, str) else pem)
            genuine = _signed_by(crl, root)
            extensions = list(crl.extensions)
        except UNREADABLE as error:
            raise Refusal(Code.BAD_INPUT, "not a revocation list; fetch it from plc again") from error
        if not genuine:
            raise Refusal(Code.NOT_AUTHENTICATED, "the revocation list is not signed by plc's CA; fetch it again")
        if any(extension.critical for extension in extensions):
            raise Refusal(Code.BAD_INPUT, "a partial revocation list, or of an unknown kind; plc signs whole ones")
        numbers = [e.value.crl_number for e in extensions if isinstance(e.value, x509.CRLNumber)]
        if not numbers:
            raise Refusal(Code.BAD_INPUT, "the revocation list has no number; plc numbers its lists")
        return cls(numbers[0], crl.last_update_utc, frozenset(entry.serial_number for entry in crl))

    def age(self, now: datetime) -> int:
        """Whole seconds since plc signed it; negative if plc's clock is ahead."""
        return int((now - self.this_update).total_seconds())


def _signed_by(crl: x509.CertificateRevocationList, root: x509.Certificate) -> bool:
    key = root.public_key()
    return crl.issuer == root.subject and crl.is_signature_valid(key)  # type: ignore[arg-type]
