"""From nothing to a trusted root: plc shows it, somebody else vouched for its SHA-256.

See docs/protocol.md, "Identities".
"""

import hmac
import json

from rpc.first_contact import fetch_unverified
from trust.certificates import certificate_from_pem, certificate_to_pem, fingerprint
from trust.errors import Code, Refusal


def offered_root(plc_url: str) -> str:
    """The root (PEM) that whoever answers at plc's address offers; trusted by nobody yet. Nothing is sent to it."""
    shown = fetch_unverified(plc_url, "/.well-known/planetlab")
    try:
        return certificate_to_pem(certificate_from_pem(str(json.loads(shown)["ca"])))
    except (ValueError, KeyError, TypeError, RecursionError, Refusal) as error:
        raise Refusal(Code.INTERNAL, f"{plc_url} is not a plc: it shows no CA") from error


def root_with_fingerprint(plc_url: str, expected: str) -> str:
    """The root with this SHA-256 (64 hex digits); Refusal(WRONG_CERTIFICATE) if plc shows another."""
    root = offered_root(plc_url)
    shown = fingerprint(certificate_from_pem(root))
    if not hmac.compare_digest(shown, expected):
        raise Refusal(
            Code.WRONG_CERTIFICATE,
            f"{plc_url} shows the CA {shown[:16]}…, not {expected[:16]}…: do not trust it; ask the operator of plc",
        )
    return root
