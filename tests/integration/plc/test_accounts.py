"""Accounts, sites and SSH keys over the network: who may do what, and who sees what."""

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import delete, func, update
from sqlalchemy.exc import DBAPIError

from models.plc import account
from plc import accounts, deactivation
from plc.accounts import OPERATOR as AS_OPERATOR
from plc.accounts import Actor
from plc.client import AccountState, Plc
from tests.integration.plc.conftest import OPERATOR, PASSWORD, Certified, Running, refused
from trust.errors import Code
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

ROLES = ((False, False), (True, False), (False, True))  # nobody special, a PI, an admin


def signed_up(plc: Running, email: str, site: str) -> None:
    plc.anyone().sign_up(email, PASSWORD, "Nora Newcomer", site, title="Student", contact={"state": "NJ", "phone": "1"})


def test_from_sign_up_to_an_enabled_account(plc: Running) -> None:
    pi = plc.certified(site="Rice", is_pi=True)
    other = plc.certified(site="Duke", is_pi=True)
    plain = plc.certified(site="Rice")
    signed_up(plc, "Nora@Example.org", "Rice")

    assert "enable nora@example.org" in plc.mailbox.wait_for(pi.email, "Account request from nora").get_content()
    refused(lambda: plain.plc.user("nora@example.org"), Code.NOT_FOUND, "there is no account nora@example.org")
    assert pi.plc.user("nora@example.org").account is AccountState.REQUESTED
    refused(lambda: other.plc.enable("nora@example.org"), Code.NOT_ALLOWED, "only a PI of Rice or an admin")
    refused(lambda: plain.plc.enable("nora@example.org"), Code.NOT_ALLOWED, "only a PI of Rice or an admin")

    pi.plc.enable("nora@example.org")
    pi.plc.enable("nora@example.org")

    assert "plkeygen" in plc.mailbox.wait_for("nora@example.org", "is enabled").get_content()
    shown = pi.plc.user("nora@example.org")
    assert (shown.account, shown.title, shown.is_pi) == (AccountState.ENABLED, "Student", False)
    assert shown.contact is not None
    assert (shown.contact["state"], shown.contact["phone"], shown.contact["zip"]) == ("NJ", "1", "")


def test_emails_of_every_shape(plc: Running) -> None:
    pi, odd = plc.certified(site="Rice", is_pi=True), "o'neil+a=b&c~d@sub.example.org"
    signed_up(plc, odd.upper(), "Rice")
    pi.plc.enable(odd)
    assert pi.plc.user(odd).email == odd
    assert pi.plc.keys(odd) == ()


def test_a_site_without_a_pi_asks_the_operator(plc: Running) -> None:
    with plc.central.begin() as connection:
        accounts.add_site(connection, AS_OPERATOR, "Lonely", plc.central.clock.now())
    signed_up(plc, "lonely@example.org", "Lonely")
    plc.mailbox.wait_for(OPERATOR, "Account request from lonely@example.org")


def test_signing_up_again_looks_the_same_and_changes_nothing(plc: Running) -> None:
    holder = plc.certified()
    before = holder.plc.user(holder.email)
    signed_up(plc, holder.email, "Princeton")
    assert holder.plc.user(holder.email) == before
    assert "Nothing was changed" in plc.mailbox.wait_for(holder.email, "have a PlanetLab account").get_content()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"email": "nobody"}, "not a lower-case e-mail"),
        ({"password": "short"}, "8 to 512 characters"),
        ({"password": "x" * 513}, "password"),
        ({"name": ""}, "name must be one line"),
        ({"name": "two\nlines"}, "name must be one line"),
        ({"name": "x" * 201}, "name must be one line"),
        ({"site": "Nowhere"}, "there is no site Nowhere"),
        ({"contact": {"fax": "1"}}, "unknown contact field fax"),
        ({"contact": {"phone": "1\x1b[2J"}}, "phone must be one line"),
    ],
)
def test_bad_sign_ups(plc: Running, said: dict[str, object], words: str) -> None:
    plc.person()
    whole = {"email": "x@example.org", "password": PASSWORD, "name": "X", "site": "Princeton", **said}
    refused(lambda: plc.anyone().sign_up(**whole), Code.BAD_INPUT, words)  # type: ignore[arg-type]


def test_who_sees_contact_fields(plc: Running) -> None:
    whom = plc.certified(site="MIT")
    assert whom.plc.user(whom.email).contact is not None
    assert plc.certified(site="MIT", is_pi=True).plc.user(whom.email).contact is not None
    assert plc.certified(site="Duke", is_admin=True).plc.user(whom.email).contact is not None
    assert plc.certified(site="MIT").plc.user(whom.email).contact is None
    assert plc.certified(site="Duke", is_pi=True).plc.user(whom.email).contact is None
    assert plc.member(Role.SVM).plc.user(whom.email).contact is None


def test_who_is_listed(plc: Running) -> None:
    plain, pi, admin = (plc.certified(site="CMU", is_pi=pi, is_admin=admin) for pi, admin in ROLES)
    assert [user.email for user in plain.plc.users()] == [plain.email]
    assert {user.email for user in pi.plc.users()} == {plain.email, pi.email, admin.email}
    assert {user.site for user in admin.plc.users()} > {"CMU"}


def test_admins_add_sites_and_make_pis(plc: Running) -> None:
    admin, pi = plc.certified(is_admin=True), plc.certified(is_pi=True)
    refused(lambda: pi.plc.add_site("Utah"), Code.NOT_ALLOWED, "only an admin may add sites")
    admin.plc.add_site("Utah")
    refused(lambda: admin.plc.add_site("Utah"), Code.NAME_TAKEN, "there is a site Utah")
    refused(lambda: admin.plc.add_site(" "), Code.BAD_INPUT, "a site's name")
    assert "Utah" in plc.anyone().sites()

    whom = plc.certified()
    refused(lambda: pi.plc.set_pi(whom.email, True), Code.NOT_ALLOWED, "only an admin may make PIs")
    admin.plc.set_pi(whom.email, True)
    assert whom.plc.user(whom.email).is_pi
    plc.mailbox.wait_for(whom.email, "You are now a PI")
    admin.plc.set_pi(whom.email, False)
    plc.mailbox.wait_for(whom.email, "no longer a PI")


def test_only_enabled_accounts_become_pis(plc: Running) -> None:
    admin = plc.certified(is_admin=True)
    signed_up(plc, "waiting@example.org", "Princeton")
    refused(lambda: admin.plc.set_pi("waiting@example.org", True), Code.NOT_ALLOWED, "not enabled yet")
    refused(lambda: admin.plc.set_pi("ghost@example.org", True), Code.NOT_FOUND, "no account ghost@example.org")


def test_who_disables_whom(plc: Running) -> None:
    plain, pi, admin = (plc.certified(site="UCSD", is_pi=pi, is_admin=admin) for pi, admin in ROLES)
    other_pi, second_admin = plc.certified(site="Duke", is_pi=True), plc.certified(is_admin=True)

    def may_not(who: Certified, whom: Certified) -> None:
        refused(lambda: who.plc.disable(whom.email, "because"), Code.NOT_ALLOWED, "you may not disable")

    may_not(plain, pi)
    may_not(other_pi, plain)
    may_not(pi, pi)
    may_not(pi, admin)
    may_not(second_admin, admin)
    for nothing in (" ", "\x1b[2J"):
        refused(partial(pi.plc.disable, plain.email, nothing), Code.BAD_INPUT, "say why")
    refused(lambda: pi.plc.disable(plain.email, "x", stop=True), Code.NOT_ALLOWED, "only an admin may stop")

    assert pi.plc.disable(plain.email, "left") == ()
    refused(plain.plc.users, Code.REVOKED, "revoked")
    refused(lambda: pi.plc.enable(plain.email), Code.NOT_ALLOWED, "only an admin enables it again")
    assert "left" in plc.mailbox.wait_for(plain.email, "was disabled").get_content()
    second_admin.plc.enable(plain.email)
    second_admin.plc.disable(pi.email, "left as well")


def test_a_disabled_account_is_refused_by_its_state_too(plc: Running) -> None:
    """The certificate is revoked in the same transaction; this is the second lock on that door."""
    whom = plc.certified()
    with plc.central.begin() as connection:
        connection.execute(update(account).where(account.c.email == whom.email).values(state="disabled", reason="gone"))
    refused(whom.plc.users, Code.NOT_ALLOWED, f"is disabled (gone); ask {OPERATOR}")
    asker = plc.certified()
    refused(lambda: asker.plc.user(whom.email), Code.NOT_FOUND, "there is no account")
    assert plc.member(Role.SVM).plc.user(whom.email).account is AccountState.DISABLED


def test_the_operator_alone_makes_admins_adds_accounts_and_resets_passwords(plc: Running) -> None:
    email, now = plc.person(), plc.central.clock.now()
    admin = Actor("admin@example.org", is_admin=True)
    wanted = accounts.Application("own@example.org", "Own", "Princeton", "", {})
    with plc.central.begin() as connection:
        refused(
            lambda: deactivation.set_admin(connection, admin, email, True, now), Code.NOT_ALLOWED, "operator of plc"
        )
        refused(lambda: accounts.set_password(connection, admin, email, "x", now), Code.NOT_ALLOWED, "theirs to change")
        refused(lambda: accounts.add(connection, admin, wanted, "x", now), Code.NOT_ALLOWED, "sign up instead")
        deactivation.set_admin(connection, AS_OPERATOR, email, True, now)
        assert accounts.load(connection, email).account_role == "enabled, admin"


def test_changing_the_own_password_takes_the_old_one(plc: Running) -> None:
    who, other = plc.certified(), plc.certified()
    refused(
        lambda: who.plc.set_password(who.email, "not the old one", "a new password"), Code.NOT_AUTHENTICATED, "wrong"
    )
    refused(lambda: who.plc.set_password(other.email, PASSWORD, "a new password"), Code.NOT_ALLOWED, "theirs")
    who.plc.set_password(who.email, PASSWORD, "a new password")
    assert plc.central.log_in(who.email, "a new password", "test").email == who.email


def test_an_email_is_never_given_away(plc: Running) -> None:
    email = plc.person()
    taken = plc.person()
    mine = account.c.email == email
    for statement in (delete(account).where(mine), update(account).where(mine).values(email="other@example.org")):
        with pytest.raises(DBAPIError, match="never deleted"), plc.central.begin() as connection:
            connection.execute(statement)
    for wrong in (email.upper(), taken, "nobody"):
        copied = {"site_id": 1, "name": "x", "password_hash": "x", "state": "requested", "asked_at": func.now()}
        with pytest.raises(DBAPIError, match="email"), plc.central.begin() as connection:
            connection.execute(account.insert().values(email=wrong, **copied))


class TestKeys:
    def test_upload_read_remove(self, plc: Running) -> None:
        who, other = plc.certified(), plc.certified()
        first, second = new_ssh_key_pair("one")[1], new_ssh_key_pair("two")[1]
        fingerprint = who.plc.add_key(who.email, first)
        who.plc.add_key(who.email, second)
        assert who.plc.add_key(who.email, first) == fingerprint
        assert other.plc.keys(who.email) == (second, first)
        assert plc.member(Role.SVM).plc.keys(who.email) == (second, first)

        refused(lambda: other.plc.add_key(who.email, first), Code.NOT_ALLOWED, "theirs to change")
        refused(lambda: other.plc.remove_key(who.email, fingerprint), Code.NOT_ALLOWED, "theirs to change")
        who.plc.remove_key(who.email, fingerprint)
        refused(lambda: who.plc.remove_key(who.email, fingerprint), Code.NOT_FOUND, "has no SSH key")
        assert other.plc.keys(who.email) == (second,)

    def test_what_is_no_key(self, plc: Running) -> None:
        who = plc.certified()
        refused(lambda: who.plc.add_key(who.email, new_ssh_key_pair("x")[0]), Code.BAD_INPUT, "private key")

    def test_there_is_an_end_to_it(self, plc: Running) -> None:
        who = plc.certified()
        for number in range(20):
            who.plc.add_key(who.email, new_ssh_key_pair(str(number))[1])
        refused(lambda: who.plc.add_key(who.email, new_ssh_key_pair("21")[1]), Code.OVER_CAPACITY, "the most allowed")


def without_certificate(plc: Running) -> list[Callable[[], object]]:
    anyone = plc.anyone()
    return [
        lambda: anyone.user("a@example.org"),
        anyone.users,
        lambda: anyone.keys("a@example.org"),
        lambda: anyone.add_key("a@example.org", "x"),
        lambda: anyone.remove_key("a@example.org", "x"),
        lambda: anyone.set_password("a@example.org", "x", "y"),
        lambda: anyone.renew_certificate("x"),
        lambda: anyone.revoke_certificate(1),
        lambda: anyone.enable("a@example.org"),
        lambda: anyone.disable("a@example.org", "x"),
        lambda: anyone.set_pi("a@example.org", True),
        lambda: anyone.add_site("x"),
        anyone.requests,
        lambda: anyone.decide("a@example.org", approve=True),
        lambda: anyone.announce("https://127.0.0.1:1"),
        lambda: anyone.register_slice("mine", Identity.user("a@example.org"), ""),
    ]


def test_nothing_but_the_open_calls_without_a_certificate(plc: Running) -> None:
    for call in without_certificate(plc):
        refused(call, Code.NOT_AUTHENTICATED, "certificate")


def test_services_are_no_users(plc: Running) -> None:
    node: Plc = plc.member(Role.NODE).plc
    calls: list[Callable[[], object]] = [node.users, lambda: node.user("a@example.org"), node.requests]
    for call in calls:
        refused(call, Code.NOT_ALLOWED, "not one of those who may do this")
