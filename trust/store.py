"""What a process knows of whom to trust: plc's root, and the newest revocation list it has seen."""

from collections.abc import Collection
from threading import Lock

from cryptography import x509

from trust.actions import Action
from trust.clock import Clock
from trust.errors import Code, Refusal
from trust.identity import Role
from trust.peers import Peer, authentic, check_admissible
from trust.revocation import RevocationList

MAX_AUTHENTIC = 8_192  # certificates remembered, each some kilobytes


class TrustStore:
    """The root, the clock and the revocation list, for all threads of a process.

    Reading takes no lock: a list is immutable and replaced as a whole. `clock_trouble`, which whoever fetches lists
    sets, says in one line how far the clock is from plc's, where that is more than is allowed.
    """

    def __init__(self, root: x509.Certificate, clock: Clock) -> None:
        self.root = root
        self.clock = clock
        self.clock_trouble: str | None = None
        self._revocations: RevocationList | None = None
        self._replacing = Lock()
        self._authentic: dict[bytes | x509.Certificate, Peer] = {}

    @property
    def revocations(self) -> RevocationList | None:
        """The newest list, or None before the first."""
        return self._revocations

    def update(self, crl_pem: bytes | str) -> RevocationList:
        """Takes plc's list if it is newer than the one known, and returns the one that counts from now on.

        Raises Refusal as ``RevocationList.parse``, and BAD_INPUT for a lower number than the known one: an old
        list, replayed, would bring revoked certificates back to life.
        """
        offered = RevocationList.parse(crl_pem, self.root)
        with self._replacing:
            known = self._revocations
            if known is not None and offered.number < known.number:
                raise Refusal(
                    Code.BAD_INPUT,
                    f"revocation list {offered.number} is older than {known.number}, which is kept; fetch it again",
                )
            if known is None or offered.number > known.number:
                self._revocations = known = offered
            return known

    def peer(self, certificate: bytes | x509.Certificate, roles: Collection[Role]) -> Peer:
        """As ``trust.peers.verify_certificate`` against the root, the clock and the list; the same Refusals.

        That a certificate is of plc's CA takes as long to verify as the rest of a call, and is verified once. Both
        ends, the list and the role are looked at each time.
        """
        known = self._revocations
        peer = self._known(certificate)
        check_admissible(peer, roles=roles, revoked=known.serials if known else frozenset())
        return peer

    def _known(self, certificate: bytes | x509.Certificate) -> Peer:
        now, root = self.clock.now(), self.root
        known = self._authentic.get(certificate)
        valid = root.not_valid_before_utc <= now <= root.not_valid_after_utc
        if known is not None and valid and known.not_before <= now <= known.not_after:
            return known
        peer = authentic(certificate, root=root, now=now)
        if len(self._authentic) >= MAX_AUTHENTIC:
            self._authentic.clear()  # at once: other threads read it
        self._authentic[certificate] = peer
        return peer

    def require_fresh(self, action: Action | None) -> None:
        """Refusal(CRL_STALE) if the action changes something and the list is too old for it, or absent.

        None stands for a call that changes nothing.
        """
        greatest = action.greatest_crl_age if action else None
        if greatest is None:
            return
        known = self._revocations
        if known is None:
            raise Refusal(Code.CRL_STALE, "no revocation list of plc's yet; try again when plc answers")
        age = known.age(self.clock.now())
        if age > greatest:
            raise Refusal(
                Code.CRL_STALE,
                f"plc's revocation list is {age} s old, {greatest} s at most for this; try again when plc answers",
                age=age,
            )
