"""Who may: one pure function that guards every call (docs/protocol.md, "Who may")."""

from trust.actions import Action
from trust.documents import Delegation, DelegationKind
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.peers import Peer

__all__ = ["Action", "authorize", "require_operator"]

_STANDING = frozenset({Action.RENEW})
_HEALING = _STANDING | {Action.CREATE, Action.ACCESS, Action.READ}


def authorize(caller: Identity, owner: Identity, slice: str, action: Action, delegation: Delegation | None) -> None:
    """Returns if ``caller`` may do ``action`` to the slice of ``owner``: as its owner, or by the owner's delegation.

    ``owner`` and ``slice`` come from the registry or the stored row, never from what the caller sent; ``delegation``
    has been verified at this moment (``verify_delegation``). Raises Refusal: NOT_OWNER if the slice is another's,
    NOT_ALLOWED if the owner's delegation does not cover this.
    """
    if caller == owner:
        return
    if delegation is None or delegation.issuer != owner:
        raise Refusal(Code.NOT_OWNER, f"slice {slice} belongs to {owner.name}; ask them")
    if delegation.svm != caller:
        raise Refusal(Code.NOT_ALLOWED, f"this delegation is for {delegation.svm}, not {caller}; sign another")
    if delegation.slice != slice:
        raise Refusal(Code.NOT_ALLOWED, f"this delegation is for slice {delegation.slice}, not {slice}; sign another")
    if not _covers(delegation, action):
        raise Refusal(
            Code.NOT_ALLOWED, f"a standing delegation does not cover {action}; run the command as {owner.name}"
        )


def require_operator(peer: Peer) -> None:
    """Returns for an admin, and for plc itself: at its machine the operator acts with its certificate.

    Raises Refusal(NOT_ALLOWED) for everybody else, whoever owns what.
    """
    if peer.identity.role is not Role.PLC and not peer.admin:
        raise Refusal(
            Code.NOT_ALLOWED,
            f"{peer.identity.name} is not an admin by its certificate; who was made one since then: plkeygen --renew",
        )


def _covers(delegation: Delegation, action: Action) -> bool:
    if delegation.kind is DelegationKind.WORKING:
        return True
    return action in (_HEALING if delegation.heal else _STANDING)
