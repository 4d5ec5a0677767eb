"""plc's calls, for services and the command line: synchronous, over one kept-alive connection."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from plc.client.values import CertificateRequest, Directory, StopList, User
from rpc.credentials import Credentials
from trust.identity import Identity


class Plc:
    """One plc. Without credentials only the open calls answer; ``ca_pem`` is the root that its server must chain to.

    Every method raises Refusal: plc's own, or unreachable, timeout, wrong-certificate.
    Thread-safe. Nothing is sent before the server has shown the certificate of ``PLC``.
    """

    def __init__(self, url: str, credentials: Credentials | None = None, ca_pem: str | None = None) -> None:
        raise NotImplementedError

    # Open to everyone

    def crl(self) -> bytes:
        """The current revocation list, PEM; `TrustStore.update` checks it."""
        raise NotImplementedError

    def stops(self) -> StopList:
        """Owners whose slivers must stop; the CA's signature is checked here."""
        raise NotImplementedError

    def directory(self) -> Directory:
        """Who is who: plc, svmd, agents."""
        raise NotImplementedError

    def sites(self) -> tuple[str, ...]:
        """Names of the sites that an account may belong to."""
        raise NotImplementedError

    def sign_up(self, email: str, password: str, name: str, site: str, **details: str) -> None:
        """Ask for an account; a PI of the site enables it. The same answer whether or not the e-mail has one."""
        raise NotImplementedError

    def request_certificate(self, email: str, password: str, request_pem: str) -> CertificateRequest:
        """Queue a certificate request for the CA operator; the same key again returns the same request."""
        raise NotImplementedError

    def request_status(self, email: str, key: RSAPrivateKey) -> CertificateRequest:
        """Where the newest request of this key stands; proves possession of the key instead of asking a password."""
        raise NotImplementedError

    # For users

    def user(self, email: str) -> User:
        raise NotImplementedError

    def users(self) -> tuple[User, ...]:
        """Accounts that the caller looks after: a PI's site, everyone for admins."""
        raise NotImplementedError

    def keys(self, email: str) -> tuple[str, ...]:
        """SSH public keys, one line each, the newest first."""
        raise NotImplementedError

    def add_key(self, email: str, line: str) -> str:
        """Upload an SSH public key to the own account; returns its fingerprint (``SHA256:…``)."""
        raise NotImplementedError

    def remove_key(self, email: str, fingerprint: str) -> None:
        raise NotImplementedError

    def renew_certificate(self, request_pem: str) -> str:
        """A new certificate (PEM) for the caller's identity; the old one stays valid until revoked or ended."""
        raise NotImplementedError

    def revoke_certificate(self, serial: int) -> None:
        """Revoke another certificate of the caller's own identity."""
        raise NotImplementedError

    # For services

    def announce(self, url: str) -> None:
        """Agents and svmd: enter the base URL where this service answers into the directory."""
        raise NotImplementedError

    def register_slice(self, name: str, owner: Identity, *, delegation: str | None = None) -> UUID:
        """Agents: take a slice name for its owner; idempotent for the same owner while registered.

        Returns the slice's id. Raises Refusal NAME_TAKEN, BAD_INPUT (the name), NOT_ALLOWED (no PI, disabled,
        too many names), NOT_OWNER (the delegation is another's).
        """
        raise NotImplementedError

    def release_slice(self, name: str, slice_id: UUID, held_until: datetime | None = None) -> None:
        """Agents: give a name back; until ``held_until`` only the same owner may take it again. Idempotent."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


Details = Mapping[str, str]
