"""SSH public keys as users paste them, and the key pair of a slice (RFC 4253, section 6.6).

Kept are only type, key and comment, written anew: a line that OpenSSH reads otherwise than we did never gets through.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)

from trust.errors import Code, Refusal
from trust.securitykeys import SECURITY_KEY_TYPES, SecurityKey

MAX_TEXT = 16 * 1024
MIN_RSA_BITS = 2048
# Those that the front door knows: paramiko's, and FIDO's.
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    *SECURITY_KEY_TYPES,
)
_NOT_ONE_LINE = {
    "---- BEGIN SSH2 PUBLIC KEY ----": "ssh-keygen -i -f FILE",  # RFC 4716
    "-----BEGIN PUBLIC KEY-----": "ssh-keygen -i -m PKCS8 -f FILE",
    "-----BEGIN RSA PUBLIC KEY-----": "ssh-keygen -i -m PEM -f FILE",
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key: its type, the key itself in wire format, and a comment of printable characters (or none)."""

    type: str
    blob: bytes
    comment: str

    @property
    def line(self) -> str:
        """As in ``authorized_keys``, without a line end."""
        return f"{self.type} {base64.b64encode(self.blob).decode()} {self.comment}".rstrip()

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` as ``ssh-keygen -l`` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


def parse_public_key(text: str) -> PublicKey:
    """The key in the text of a ``.pub`` file; Refusal(BAD_INPUT) says in one line what is wrong with it."""
    if len(text.encode(errors="replace")) > MAX_TEXT:
        raise _bad(f"is longer than {MAX_TEXT} bytes; give the .pub file")
    check_form(text)
    lines = text.strip().splitlines()
    if not lines:
        raise _bad("must be one line and is empty; give the .pub file")
    if len(lines) != 1:
        raise _bad(f"must be one line and is {len(lines)}; give the .pub file, one key at a time")
    words = lines[0].split()
    if not " ".join(words).isprintable():
        raise _bad("has control characters in it; give the .pub file as ssh-keygen wrote it")
    _check_type(words)
    return PublicKey(words[0], _blob(words[:2]), " ".join(words[2:]))


def check_form(text: str) -> None:
    """Refusal(BAD_INPUT) for what is no line of an authorized_keys file at all, with what makes one of it."""
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise _bad("is a private key, which you should give to nobody; give the .pub file")
    for head, cure in _NOT_ONE_LINE.items():
        if head in text:
            raise _bad(f"is in another format ({head.strip(' -').lower()}); give what {cure} prints")


def key_set_digest(lines: Iterable[str]) -> str:
    """SHA-256 (hex) of a set of kept lines, whatever their order and comments: equal sets have equal digests."""
    keys = sorted({" ".join(line.split()[:2]) for line in lines})
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def new_ssh_key_pair(comment: str) -> tuple[str, str]:
    """A fresh Ed25519 pair: the private key in OpenSSH's format, and the public line."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, parse_public_key(f"{public} {comment}").line


def _check_type(fields: list[str]) -> None:
    kind = fields[0]
    if kind == "ssh-dss":
        raise _bad("is a DSA key, which is broken; make a new one with ssh-keygen -t ed25519")
    if "-cert-v0" in kind:
        raise _bad("is a certificate; give the plain .pub file of the key")
    if kind not in KEY_TYPES and any(field in KEY_TYPES for field in fields):
        raise _bad("has options before it, which are not taken; give the .pub file without them")
    if kind not in KEY_TYPES:
        raise _bad("is of an unknown type; give the .pub file, or make one with ssh-keygen -t ed25519")


def _blob(fields: list[str]) -> bytes:
    """The key's wire format, as we write it ourselves."""
    if fields[0] in SECURITY_KEY_TYPES:
        return _security_key_blob(*fields)
    try:
        key = load_ssh_public_key(" ".join(fields).encode())
        written = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, NotImplementedError) as error:  # the latter: a compressed point
        raise _bad("is damaged; copy the .pub file again") from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise _bad(f"is RSA of {key.key_size} bits, {MIN_RSA_BITS} at least; make one with ssh-keygen -t ed25519")
    return base64.b64decode(written.split()[1])


def _security_key_blob(kind: str, text: str = "") -> bytes:
    try:
        blob = base64.b64decode(text, validate=True)
        if SecurityKey.parse(blob).type != kind:
            raise ValueError("of another type than it says")
    except ValueError as error:
        raise _bad("is damaged; copy the .pub file again") from error
    return blob


def _bad(what: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, f"this SSH public key {what}")
