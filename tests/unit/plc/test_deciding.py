"""What plc decides without a database: who may, how long to wait, what is well-formed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc import letters
from plc.accounts import (
    OPERATOR,
    Account,
    Actor,
    clean,
    may_see_contact,
    require_admin,
    require_enabled,
    require_may_disable,
    require_may_enable,
)
from plc.client.values import AccountState
from plc.throttle import ACCOUNT, ADDRESS, SIGN_UP, Rule
from rpc.fate import LONGEST_PAUSE, pause
from trust.errors import Code, Refusal
from trust.identity import Identity


def an_account(
    email: str = "a@x.org",
    *,
    site: int = 1,
    state: AccountState = AccountState.ENABLED,
    pi: bool = False,
    admin: bool = False,
) -> Account:
    return Account(
        id=1,
        email=email,
        name="A",
        title="",
        site_id=site,
        site=f"site {site}",
        state=state,
        is_pi=pi,
        is_admin=admin,
        reason="because",
        password_hash="",
        contact={},
    )


PI, OTHER_PI = Actor("pi@x.org", 1, is_pi=True), Actor("pi@y.org", 2, is_pi=True)
ADMIN, PLAIN = Actor("admin@x.org", 1, is_admin=True), Actor("b@x.org", 1)
SVM = Actor("spiffe://planet-lab/svm/lab", is_service=True)


def allowed(decide: object, *arguments: object) -> bool:
    assert callable(decide)
    try:
        decide(*arguments)
    except Refusal as refusal:
        if refusal.code is not Code.NOT_ALLOWED:
            raise
        return False
    return True


def test_who_enables() -> None:
    for state, who in (
        (AccountState.REQUESTED, [OPERATOR, ADMIN, PI]),
        (AccountState.ENABLED, [OPERATOR, ADMIN, PI]),
        (AccountState.DISABLED, [OPERATOR, ADMIN]),
    ):
        everyone = [OPERATOR, ADMIN, PI, OTHER_PI, PLAIN, SVM]
        assert [one for one in everyone if allowed(require_may_enable, one, an_account(state=state))] == who


@pytest.mark.parametrize(
    ("whom", "who"),
    [
        (an_account(), [OPERATOR, ADMIN, PI]),
        (an_account(pi=True), [OPERATOR, ADMIN]),
        (an_account(admin=True), [OPERATOR]),
    ],
)
def test_who_disables(whom: Account, who: list[Actor]) -> None:
    everyone = [OPERATOR, ADMIN, PI, OTHER_PI, PLAIN, SVM]
    assert [one for one in everyone if allowed(require_may_disable, one, whom)] == who


def test_who_sees_contact_fields() -> None:
    itself = Actor("a@x.org", 1)
    everyone = [OPERATOR, ADMIN, PI, OTHER_PI, PLAIN, SVM, itself]
    assert [one for one in everyone if may_see_contact(one, an_account())] == [OPERATOR, ADMIN, PI, itself]


def test_who_is_an_admin() -> None:
    assert [one for one in (OPERATOR, ADMIN, PI, SVM) if allowed(require_admin, one, "x")] == [OPERATOR, ADMIN]


@pytest.mark.parametrize(
    ("state", "words"), [(AccountState.REQUESTED, "ask a PI of site 1"), (AccountState.DISABLED, "(because); ask op@x")]
)
def test_who_is_enabled(state: AccountState, words: str) -> None:
    require_enabled(an_account(), "op@x")
    with pytest.raises(Refusal, match="is ") as caught:
        require_enabled(an_account(state=state), "op@x")
    assert words in caught.value.reason


@pytest.mark.parametrize(("text", "least"), [("", 1), ("  ", 1), ("a\nb", 0), ("\x07", 0), ("x" * 201, 0)])
def test_texts_that_are_not_taken(text: str, least: int) -> None:
    with pytest.raises(Refusal, match="field must be one line"):
        clean(text, "field", least=least)


def test_texts_that_are() -> None:
    assert clean("  Łukasz O'Neil ", "name", least=1) == "Łukasz O'Neil"
    assert clean("", "title") == ""


@pytest.mark.parametrize("rule", [ACCOUNT, ADDRESS, SIGN_UP, Rule(1, 1, 4)])
def test_delays_begin_after_the_free_attempts_and_grow_to_an_end(rule: Rule) -> None:
    delays = [rule.delay(failures) for failures in range(rule.free + 40)]
    assert delays[: rule.free] == [0] * rule.free
    assert delays[rule.free] == rule.first
    assert delays == sorted(delays)
    assert delays[-1] == rule.longest == rule.delay(10_000)


@given(st.integers(0, 10_000))
def test_letters_are_tried_again_within_the_hour(attempts: int) -> None:
    assert 10 <= pause(attempts) <= LONGEST_PAUSE
    assert pause(attempts) <= pause(attempts + 1)


def test_letters_name_what_to_type() -> None:
    asked = letters.certificate_requested("op@x.org", "a@x.org", "A", "X", "enabled, PI", "ab" * 32)
    assert asked.recipient == "op@x.org"
    assert "dslice plc approve a@x.org" in asked.body
    assert "ab" * 32 in asked.body
    told = letters.account_disabled("a@x.org", "A", "abuse", ["oceanstore"], True, "op@x.org")
    assert "oceanstore" in told.body
    assert "stopped now" in told.body
    assert "You held no slices" in letters.account_disabled("a@x.org", "A", "x", [], False, "op@x.org").body


def test_the_standing_of_an_account_in_words() -> None:
    assert an_account(pi=True, admin=True).account_role == "enabled, PI, admin"
    assert an_account().identity == Identity.user("a@x.org")
