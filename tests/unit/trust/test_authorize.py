import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.trust import factories as make
from tests.unit.trust.factories import NODE, SVM, USER
from trust.authorize import Action, authorize
from trust.documents import Delegation, DelegationKind
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

OTHER = Identity.user("mallory@x.org")
WORKING = make.delegation()
STANDING = make.delegation(kind=DelegationKind.STANDING)
HEALING = make.delegation(kind=DelegationKind.STANDING, heal=True)


def outcome(caller: Identity, action: Action, delegation: Delegation | None, slice: str = "oceanstore") -> Code | None:
    try:
        authorize(caller, USER, slice, action, delegation)
    except Refusal as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize("action", Action)
def test_the_owner_may_everything(action: Action) -> None:
    assert outcome(USER, action, None) is None
    assert outcome(USER, action, STANDING) is None


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("caller", [OTHER, SVM, NODE, Identity(Role.NODE, "llp")], ids=str)
def test_nobody_else_may_anything_without_a_delegation(action: Action, caller: Identity) -> None:
    assert outcome(caller, action, None) is Code.NOT_OWNER


@pytest.mark.parametrize("action", Action)
def test_a_working_delegation_covers_everything(action: Action) -> None:
    assert outcome(SVM, action, WORKING) is None


@pytest.mark.parametrize(
    ("delegation", "covered"),
    [
        (STANDING, {Action.RENEW}),
        (HEALING, {Action.RENEW, Action.CREATE, Action.ACCESS, Action.READ}),
    ],
    ids=["standing", "healing"],
)
def test_a_standing_delegation_covers_only_its_own(delegation: Delegation, covered: set[Action]) -> None:
    for action in Action:
        assert outcome(SVM, action, delegation) is (None if action in covered else Code.NOT_ALLOWED)


@pytest.mark.parametrize("action", Action)
def test_a_delegation_of_somebody_else_gives_nothing(action: Action) -> None:
    assert outcome(SVM, action, make.delegation(issuer=OTHER)) is Code.NOT_OWNER


@pytest.mark.parametrize("action", Action)
def test_a_delegation_serves_its_service_manager_only(action: Action) -> None:
    for caller in (Identity(Role.SVM, "other"), OTHER, Identity(Role.AGENT, SVM.name)):
        assert outcome(caller, action, WORKING) is Code.NOT_ALLOWED


@pytest.mark.parametrize("action", Action)
def test_a_delegation_serves_its_slice_only(action: Action) -> None:
    assert outcome(SVM, action, WORKING, slice="oceanstore2") is Code.NOT_ALLOWED


CALLERS = st.sampled_from([USER, OTHER, SVM, Identity(Role.SVM, "other")])
SLICES = st.sampled_from(["oceanstore", "codeen"])
KINDS = st.sampled_from(
    [(DelegationKind.WORKING, False), (DelegationKind.STANDING, False), (DelegationKind.STANDING, True)]
)
ACTIONS = st.sampled_from(Action)


@given(CALLERS, CALLERS, SLICES, ACTIONS, st.tuples(CALLERS, CALLERS, SLICES), KINDS)
def test_nobody_passes_without_the_owners_word_for_them_and_this_slice(
    caller: Identity,
    owner: Identity,
    slice: str,
    action: Action,
    word: tuple[Identity, Identity, str],
    kind: tuple[DelegationKind, bool],
) -> None:
    assume(caller != owner and word != (owner, caller, slice))
    issuer, svm, named = word
    delegation = make.delegation(issuer=issuer, svm=svm, slice=named, kind=kind[0], heal=kind[1])
    with pytest.raises(Refusal):
        authorize(caller, owner, slice, action, delegation)
