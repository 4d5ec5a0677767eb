"""Who calls a node, and what that caller may do to a slice (docs/protocol.md, "Who may")."""

from dataclasses import dataclass

from trust.authorize import Action, authorize
from trust.documents import Delegation, verify_delegation
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.peers import Peer
from trust.store import TrustStore

FOR_PIS = frozenset({Action.CREATE, Action.RENEW, Action.ACCESS})


@dataclass(frozen=True, slots=True)
class Caller:
    """A user who speaks for himself, or a service manager with (or, to read its own work, without) a delegation."""

    peer: Peer
    delegation: Delegation | None

    @classmethod
    def of(cls, peer: Peer, token: str | None, trust: TrustStore) -> "Caller":
        """Verifies the delegation, if there is one, at this moment: its signer is unrevoked and a PI.

        Raises:
            Refusal: as `trust.documents.verify_delegation`.
        """
        if token is None or peer.identity.role is Role.USER:
            return cls(peer, None)
        return cls(peer, verify_delegation(token, store=trust, audience=peer.identity))

    @property
    def identity(self) -> Identity:
        return self.peer.identity

    @property
    def svm(self) -> Identity | None:
        """The service manager that calls, if it is one."""
        return self.identity if self.identity.role is Role.SVM else None

    @property
    def owner(self) -> Identity:
        """For whom the caller speaks; Refusal(NOT_ALLOWED) for a service manager without a delegation."""
        if self.svm is None:
            return self.identity
        if self.delegation is None:
            raise Refusal(Code.NOT_ALLOWED, f"{self.identity} needs the owner's delegation; run the command again")
        return self.delegation.issuer

    def require(self, owner: Identity, slice: str, action: Action) -> None:
        """Returns if the caller may do `action` to this slice of `owner`.

        Raises:
            Refusal: NOT_OWNER or NOT_ALLOWED.
        """
        authorize(self.identity, owner, slice, action, self.delegation)
        # A delegation's signer was checked when it was verified; here it is about users who call by themselves.
        if self.svm is None and not self.peer.pi and action in FOR_PIS:
            raise Refusal(Code.NOT_ALLOWED, f"{self.identity.name} is not a PI; only PIs can change slices; ask yours")
