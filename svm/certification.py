"""What `plkeygen` does to a key directory: trust plc's CA, ask for a certificate, fetch it, renew it, rotate the key.

Nothing that works is given up before its successor is saved: a key that replaces another waits beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from plc.client import CertificateRequest, Plc, RequestState
from plc.client.trusting import offered_root, root_with_fingerprint
from rpc.credentials import KEY, ROOT, Credentials
from svm.files import write_private
from svm.home import Home
from trust.certificates import certificate_from_pem, fingerprint, key_to_pem, new_private_key, new_request
from trust.clock import Clock
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.keys import key_from_pem
from trust.peers import verify_certificate

NEXT_KEY = f"next.{KEY}"  # waits for its certificate while key.pem and cert.pem still work
TO_REVOKE = "replaced-serial"  # of the certificate that a rotation replaced, until plc has revoked it
RENEWAL_DAYS = 30  # before the end: from then on --refresh renews

Confirm = Callable[[str], str]
"""Shows a fingerprint to the user; what they typed."""


@dataclass(frozen=True, slots=True)
class Keys:
    """One user's key directory, its plc, and the time."""

    home: Home
    clock: Clock

    @property
    def credentials(self) -> Credentials:
        return self.home.credentials

    # The CA

    def trust(self, confirm: Confirm | None) -> str:
        """The root (PEM) to trust, pinned from now on; ``confirm`` None where there is nobody to ask.

        Vouched for by DSLICE_CA_FILE or DSLICE_CA_FINGERPRINT, else pinned earlier, else by the user, who types the
        first 8 digits. Raises Refusal WRONG_CERTIFICATE, NOT_AUTHENTICATED.
        """
        pinned = self._pinned()
        root = self._vouched(pinned) or pinned or self._confirmed(confirm)
        if pinned is None:
            self.credentials.save(ca_pem=root)
        return root

    def _vouched(self, pinned: str | None) -> str | None:
        """What file or fingerprint say, if they are there; they must agree with each other and with what is pinned."""
        root = _read(self.home.ca_file) if self.home.ca_file else None
        expected = self.home.ca_fingerprint
        if root is None and expected and pinned is None:
            root = root_with_fingerprint(self.home.require_plc(), expected)
        for one in (root, pinned):
            shown = _sha256(one) if one else None
            if shown and expected and shown != expected:
                raise self._other_ca(shown, expected)
        if root and pinned and _sha256(root) != _sha256(pinned):
            raise self._other_ca(_sha256(pinned), _sha256(root))
        return root

    def _other_ca(self, shown: str, expected: str) -> Refusal:
        return Refusal(
            Code.WRONG_CERTIFICATE,
            f"the CA is {shown[:16]}…, but {expected[:16]}… was expected: ask the operator of plc, "
            f"and if plc was set up anew, move {self.home.directory} away",
        )

    def _confirmed(self, confirm: Confirm | None) -> str:
        if confirm is None:
            raise Refusal(
                Code.NOT_AUTHENTICATED,
                "plc's CA is not known yet: set DSLICE_CA_FILE or DSLICE_CA_FINGERPRINT, or run this in a terminal",
            )
        root = offered_root(self.home.require_plc())
        shown = _sha256(root)
        if confirm(shown).replace(":", "").strip().lower() != shown[:8]:
            raise Refusal(Code.WRONG_CERTIFICATE, "those are not the first 8 digits: nothing was sent")
        return root

    def _pinned(self) -> str | None:
        return self.credentials.root_pem if (self.home.directory / ROOT).exists() else None

    # Asking and fetching

    def require_may_ask(self, *, force: bool) -> None:
        """Refusal(BAD_INPUT) when there is a certificate that plc takes and no --force: a new key needs a reason."""
        end = self._valid_until()
        if end is not None and not force and self.refusal() is None:
            raise Refusal(
                Code.BAD_INPUT,
                f"you have a certificate until {end}: --renew it, --rotate the key, or --force a request for a new one",
            )

    def ask(self, email: str, password: str, *, force: bool) -> CertificateRequest:
        """Send a request for the key that is there, a first one, or with ``force`` one that waits beside it."""
        who = Identity.user(email)
        path = self._key_to_ask_for(force=force)
        request = new_request(key_from_pem(path.read_bytes()), who)
        with Plc(self.home.require_plc(), ca_pem=self.credentials.root_pem) as plc:
            return plc.request_certificate(who.name, password, request)

    def _key_to_ask_for(self, *, force: bool) -> Path:
        key, waiting = self.home.directory / KEY, self.home.directory / NEXT_KEY
        if not key.exists():
            self.credentials.save(key_pem=key_to_pem(new_private_key(Role.USER)))
        elif force:
            write_private(waiting, key_to_pem(new_private_key(Role.USER)), durable=True)
            return waiting
        return waiting if waiting.exists() else key

    def refresh(self, email: str) -> CertificateRequest | None:
        """Fetch what was asked for: saved when issued. None when what is here is the newest, or was renewed just now.

        Raises Refusal NOT_FOUND (nothing was asked for), WRONG_CERTIFICATE (not for this key, or of another CA).
        """
        who = Identity.user(email)
        waiting = self.home.directory / NEXT_KEY
        if not waiting.exists() and self._ends_soon() and self.refusal() is None:
            self._require_mine(who)
            self.renew()
            return None
        path = waiting if waiting.exists() else self.home.directory / KEY
        if not path.exists():
            raise Refusal(Code.NOT_AUTHENTICATED, f"there is no key in {self.home.directory}: run plkeygen first")
        key = _rsa(path)
        with Plc(self.home.require_plc(), ca_pem=self.credentials.root_pem, clock=self.clock) as plc:
            try:
                found = plc.request_status(who.name, key)
            except Refusal as refusal:
                if refusal.code is Code.NOT_FOUND and path.name == KEY and self._holds(who):
                    return None  # rotated: this key never had a request, and needs none
                raise
        if found.state is RequestState.ISSUED:
            self._take(found.certificate_pem or "", key, who)
            waiting.unlink(missing_ok=True)
        return found

    def _take(self, pem: str, key: RSAPrivateKey, who: Identity) -> None:
        """Save a certificate that is for this key and user and of the pinned CA, unless it was renewed since."""
        certificate = self._checked(pem, key, who)
        there = self.credentials.certificate if self.credentials.exists() else None
        mine = there is not None and there.public_key() == key.public_key()
        if there is not None and mine and there.not_valid_before_utc > certificate.not_valid_before_utc:
            return
        self.credentials.save(key_pem=key_to_pem(key), certificate_pem=pem)

    def _checked(self, pem: str, key: RSAPrivateKey, who: Identity) -> x509.Certificate:
        certificate = certificate_from_pem(pem)
        if certificate.public_key() != key.public_key():
            raise Refusal(Code.WRONG_CERTIFICATE, "plc sent a certificate for another key: ask the operator of plc")
        peer = verify_certificate(certificate, root=self.credentials.root, now=self.clock.now(), roles={Role.USER})
        if peer.identity != who:
            reason = f"plc sent a certificate for {peer.identity.name}, not {who.name}: ask the operator of plc"
            raise Refusal(Code.WRONG_CERTIFICATE, reason)
        return certificate

    # With the certificate that is there

    def renew(self) -> x509.Certificate:
        """A new certificate for the same key, with the old one. Raises Refusal NOT_AUTHENTICATED, NOT_ALLOWED."""
        credentials = self.home.require_certificate()
        key = _rsa(self.home.directory / KEY)
        with self._plc(credentials) as plc:
            self._revoke_replaced(plc)
            pem = plc.renew_certificate(new_request(key, credentials.identity))
        certificate = self._checked(pem, key, credentials.identity)
        credentials.save(certificate_pem=pem)
        return certificate

    def rotate(self) -> x509.Certificate:
        """A new key and certificate; the old certificate is revoked once the new one is saved.

        What is interrupted between the two is finished by the next plkeygen --rotate, --renew or --status.
        """
        credentials = self.home.require_certificate()
        who = credentials.identity
        key = new_private_key(Role.USER)
        assert isinstance(key, RSAPrivateKey)  # noqa: S101 - a user's is
        with self._plc(credentials) as plc:
            self._revoke_replaced(plc)
            pem = plc.renew_certificate(new_request(key, who))
        certificate = self._checked(pem, key, who)
        write_private(self.home.directory / TO_REVOKE, f"{credentials.certificate.serial_number:x}\n", durable=True)
        credentials.save(key_pem=key_to_pem(key), certificate_pem=pem)
        with self._plc(credentials) as plc:
            self._revoke_replaced(plc)
        return certificate

    def refusal(self) -> str | None:
        """Why plc does not take the certificate, None if it does; Refusal UNREACHABLE and the like if it is away."""
        credentials = self.home.require_certificate()
        with self._plc(credentials) as plc:
            try:
                self._revoke_replaced(plc)
                plc.user(credentials.identity.name)
            except Refusal as refusal:
                if refusal.code in (Code.REVOKED, Code.NOT_ALLOWED, Code.NOT_AUTHENTICATED):
                    return refusal.reason
                raise
        return None

    def _revoke_replaced(self, plc: Plc) -> None:
        path = self.home.directory / TO_REVOKE
        try:
            serial = int(path.read_text(), 16)
        except (FileNotFoundError, ValueError):
            return
        if serial != self.credentials.certificate.serial_number:  # else the new one was never saved
            plc.revoke_certificate(serial)
        path.unlink()

    def _plc(self, credentials: Credentials) -> Plc:
        return Plc(self.home.require_plc(), credentials, clock=self.clock)

    def _require_mine(self, who: Identity) -> None:
        mine = self.credentials.identity
        if who != mine:
            raise Refusal(
                Code.BAD_INPUT, f"the certificate in {self.home.directory} is {mine.name}'s, not {who.name}'s"
            )

    def _valid_until(self) -> str | None:
        """For people; None without a certificate, or with one that has ended."""
        if not self.credentials.exists():
            return None
        end = self.credentials.certificate.not_valid_after_utc
        return f"{end:%Y-%m-%d}" if end > self.clock.now() else None

    def _holds(self, who: Identity) -> bool:
        """Whether the certificate that is here is this user's and valid."""
        return self._valid_until() is not None and self.credentials.identity == who

    def _ends_soon(self) -> bool:
        """Valid still, but not for long."""
        if self._valid_until() is None:
            return False
        left = self.credentials.certificate.not_valid_after_utc - self.clock.now()
        return left < timedelta(days=RENEWAL_DAYS)


def _rsa(path: Path) -> RSAPrivateKey:
    key = key_from_pem(path.read_bytes())
    if not isinstance(key, RSAPrivateKey):
        raise Refusal(Code.BAD_INPUT, f"{path} is not an RSA key: move it away and run plkeygen")
    return key


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise Refusal(Code.BAD_INPUT, f"cannot read the CA file {path}: {error}") from error


def _sha256(pem: str) -> str:
    return fingerprint(certificate_from_pem(pem))
