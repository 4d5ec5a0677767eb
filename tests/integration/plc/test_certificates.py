"""Certificate requests, their decision, what is issued, renewed and revoked."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from sqlalchemy import update

from models.plc import account
from plc import accounts, ca, certificates, deactivation
from plc.accounts import OPERATOR as AS_OPERATOR
from plc.accounts import Actor
from plc.client import RequestState
from plc.client.proofs import key_sha256, sign_proof
from tests.integration.plc.conftest import OPERATOR, PASSWORD, Running, refused, wait_for_a_waiter
from trust.certificates import certificate_from_pem, new_private_key, new_request, public_key_of_request
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.keys import PrivateKey
from trust.peers import verify_certificate


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    made = new_private_key(Role.USER)
    assert isinstance(made, rsa.RSAPrivateKey)
    return made


@pytest.fixture(scope="module")
def other_key() -> rsa.RSAPrivateKey:
    made = new_private_key(Role.USER)
    assert isinstance(made, rsa.RSAPrivateKey)
    return made


def asked(plc: Running, email: str, key: PrivateKey, password: str = PASSWORD) -> str:
    """The id of a request."""
    return plc.anyone().request_certificate(email, password, new_request(key, Identity.user(email))).id


def test_the_operator_is_told_and_the_same_key_is_the_same_request(
    plc: Running, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    email = plc.person(is_pi=True)
    sent = plc.anyone().request_certificate(email, PASSWORD, new_request(key, Identity.user(email)))
    assert (sent.operator, sent.state) == (OPERATOR, RequestState.PENDING)
    assert "enabled, PI" in plc.mailbox.wait_for(OPERATOR, email).get_content()

    assert asked(plc, email, key) == sent.id
    newer = asked(plc, email, other_key)
    assert newer != sent.id
    replaced = plc.anyone().request_status(email, key)
    assert (replaced.state, replaced.reason) == (RequestState.DENIED, "replaced by a newer request")
    assert plc.anyone().request_status(email, other_key).state is RequestState.PENDING


def test_only_the_public_key_is_taken_from_a_request(plc: Running, key: rsa.RSAPrivateKey) -> None:
    email = plc.person()
    boasting = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "PI"),
                    x509.NameAttribute(NameOID.COMMON_NAME, "somebody@else.example"),
                ]
            )
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(Identity(Role.AGENT, "agent").uri)]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    sent = plc.anyone().request_certificate(email, PASSWORD, boasting)
    plc.certified(is_admin=True).plc.decide(sent.id, approve=True)

    issued = plc.anyone().request_status(email, key)
    made = certificate_from_pem(issued.certificate_pem or "")
    peer = verify_certificate(
        made, root=plc.central.authority.certificate, now=plc.central.clock.now(), roles={Role.USER}
    )
    assert peer.identity == Identity.user(email)
    assert not peer.pi
    assert made.public_key() == key.public_key()
    assert made.not_valid_after_utc <= plc.central.clock.now() + timedelta(days=90)


@pytest.mark.parametrize(
    ("is_pi", "is_open", "written"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_who_has_pi_in_the_certificate(plc: Running, is_pi: bool, is_open: bool, written: bool) -> None:
    settings = plc.settings.model_copy(update={"open": is_open})
    with plc.central.begin() as connection:
        who = accounts.load(connection, plc.person(is_pi=is_pi), lock=True)
        made = certificates.issue_to(
            connection, plc.central.authority, who, plc.user_key.public_key(), settings, plc.central.clock.now()
        )
    units = made.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    assert [unit.value for unit in units] == (["PI"] if written else [])


def test_what_is_no_request(plc: Running) -> None:
    email, anyone = plc.person(), plc.anyone()
    for sent in ("nonsense", new_request(new_private_key(Role.NODE), Identity.user(email))):
        with pytest.raises(Refusal, match=r"certificate request|RSA of 2048"):
            anyone.request_certificate(email, PASSWORD, sent)
    weak = rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505 - on purpose
    request = new_request(weak, Identity.user(email))
    refused(lambda: anyone.request_certificate(email, PASSWORD, request), Code.BAD_INPUT, "RSA of 2048 to 4096")


class TestPasswords:
    def test_wrong_and_unknown_are_the_same_answer(self, plc: Running, key: rsa.RSAPrivateKey) -> None:
        email = plc.person()
        wrong = refused(
            lambda: asked(plc, email, key, "not it at all"), Code.NOT_AUTHENTICATED, "wrong e-mail or password"
        )
        unknown = refused(lambda: asked(plc, "ghost@example.org", key), Code.NOT_AUTHENTICATED, wrong.reason)
        assert dict(unknown.detail) == dict(wrong.detail)

    def test_after_five_failures_one_waits(self, plc: Running) -> None:
        for email in (plc.person(), f"ghost{secrets.token_hex(4)}@example.org"):
            for number in range(5):
                address = f"10.0.{number}.1"
                guess = partial(plc.central.log_in, email, "a guess", address)
                refused(guess, Code.NOT_AUTHENTICATED, "wrong")
            right = partial(plc.central.log_in, email, PASSWORD, "10.0.9.1")
            blocked = refused(right, Code.NOT_AUTHENTICATED, "too many failed")
            assert blocked.detail["retry_after"] in range(1, 16)

    def test_a_success_forgets_the_failures_before_it(self, plc: Running) -> None:
        email = plc.person()
        for _ in range(3):
            for _ in range(4):
                refused(lambda: plc.central.log_in(email, "a guess", "10.1.1.1"), Code.NOT_AUTHENTICATED, "wrong")
                plc.central.log_in(email, PASSWORD, "10.1.1.1")

    def test_one_address_cannot_try_everybody(self, plc: Running) -> None:
        for number in range(20):
            ghost = f"ghost{number}-{secrets.token_hex(4)}@example.org"
            guess = partial(plc.central.log_in, ghost, "a guess", "10.2.2.2")
            refused(guess, Code.NOT_AUTHENTICATED, "wrong")
        email = plc.person()
        refused(lambda: plc.central.log_in(email, PASSWORD, "10.2.2.2"), Code.NOT_AUTHENTICATED, "too many failed")
        assert plc.central.log_in(email, PASSWORD, "10.2.2.3").email == email


class TestStanding:
    def test_accounts_that_are_not_enabled_ask_in_vain(self, plc: Running, key: rsa.RSAPrivateKey) -> None:
        email = plc.person()
        for state, decided, words in (
            ("requested", None, "not enabled yet; ask a PI"),
            ("disabled", "now", "is disabled"),
        ):
            now = plc.central.clock.now()
            with plc.central.begin() as connection:
                values = {"state": state, "decided_at": now if decided else None}
                connection.execute(update(account).where(account.c.email == email).values(**values))
            refused(lambda: asked(plc, email, key), Code.NOT_ALLOWED, words)

    def test_nothing_is_issued_to_an_account_disabled_meanwhile(self, plc: Running, key: rsa.RSAPrivateKey) -> None:
        email = plc.person()
        request = asked(plc, email, key)
        with plc.central.begin() as connection:
            connection.execute(update(account).where(account.c.email == email).values(state="disabled"))
        admin = plc.certified(is_admin=True)
        refused(lambda: admin.plc.decide(request, approve=True), Code.NOT_ALLOWED, "is disabled")

    def test_disabling_revokes_and_drops_what_waits(self, plc: Running, other_key: rsa.RSAPrivateKey) -> None:
        who, before = plc.certified(), plc.store().revocations
        asked(plc, who.email, other_key)
        serial = who.credentials.certificate.serial_number
        with plc.central.begin() as connection:
            now = plc.central.clock.now()
            deactivation.disable(connection, AS_OPERATOR, who.email, "left", False, plc.settings, now)

        after = plc.store().revocations
        assert before is not None
        assert after is not None
        assert after.number > before.number
        assert serial in after.serials - before.serials
        status = plc.anyone().request_status(who.email, other_key)
        assert (status.state, status.reason) == (RequestState.DENIED, "the account was disabled: left")
        refused(lambda: asked(plc, who.email, other_key), Code.NOT_ALLOWED, f"(left); ask {OPERATOR}")

    def test_losing_the_flag_revokes_what_carries_it(self, plc: Running) -> None:
        pi, now = plc.certified(is_pi=True), plc.central.clock.now()
        with plc.central.begin() as connection:
            deactivation.set_pi(
                connection, AS_OPERATOR, pi.email, False, plc.settings.model_copy(update={"open": True}), now
            )
        assert pi.plc.user(pi.email).is_pi is False  # open to all: everyone's carries it
        with plc.central.begin() as connection:
            deactivation.set_pi(connection, AS_OPERATOR, pi.email, True, plc.settings, now)
            deactivation.set_pi(connection, AS_OPERATOR, pi.email, False, plc.settings, now)
        refused(pi.plc.users, Code.REVOKED, "revoked")

    def test_the_stop_list(self, plc: Running) -> None:
        who, now = plc.certified(), plc.central.clock.now()
        with plc.central.begin() as connection:
            deactivation.disable(connection, AS_OPERATOR, who.email, "abuse", True, plc.settings, now)
        assert who.identity in plc.anyone().stops()
        with plc.central.begin() as connection:
            accounts.enable(connection, AS_OPERATOR, who.email, now)
        assert who.identity not in plc.anyone().stops()

    def test_the_operator_revokes_what_was_stolen(self, plc: Running) -> None:
        who, now = plc.certified(), plc.central.clock.now()
        admin = Actor("admin@example.org", is_admin=True)
        ghost = Identity.user("ghost@example.org")
        with plc.central.begin() as connection:
            refused(
                lambda: deactivation.revoke_all(connection, admin, who.identity, "x", now), Code.NOT_ALLOWED, "operator"
            )
            refused(
                lambda: deactivation.revoke_all(connection, AS_OPERATOR, ghost, "x", now),
                Code.NOT_FOUND,
                "no certificate",
            )
            assert deactivation.revoke_all(connection, AS_OPERATOR, who.identity, "stolen", now) == 1
        refused(who.plc.users, Code.REVOKED, "revoked")


class TestDeciding:
    def test_admins_decide_over_the_network(self, plc: Running, key: rsa.RSAPrivateKey) -> None:
        email, admin, pi = plc.person(), plc.certified(is_admin=True), plc.certified(is_pi=True)
        request = asked(plc, email, key)
        refused(pi.plc.requests, Code.NOT_ALLOWED, "only an admin may see")
        refused(lambda: pi.plc.decide(email, approve=True), Code.NOT_ALLOWED, "only an admin may approve")
        refused(lambda: pi.plc.decide(email, approve=False, reason="x"), Code.NOT_ALLOWED, "only an admin may deny")
        (waiting,) = [one for one in admin.plc.requests() if one.email == email]
        assert waiting.request.id == request
        assert waiting.account_role == "enabled"

        refused(lambda: admin.plc.decide(email, approve=False), Code.BAD_INPUT, "say why")
        assert admin.plc.decide(email, approve=True).state is RequestState.ISSUED
        for which in (email, request):
            refused(partial(admin.plc.decide, which, approve=True), Code.NOT_FOUND, "waits")
            refused(partial(admin.plc.decide, which, approve=False, reason="x"), Code.NOT_FOUND, "waits")
        refused(lambda: admin.plc.decide("nonsense", approve=True), Code.BAD_INPUT, "neither an e-mail nor the id")

    @pytest.mark.parametrize("approving", [True, False])
    def test_two_decisions_at_once_are_one(self, plc: Running, key: rsa.RSAPrivateKey, approving: bool) -> None:
        """The second has looked before the first decides: what it writes is guarded by the state."""
        email, now = plc.person(), plc.central.clock.now()
        asked(plc, email, key)

        def second() -> None:
            with plc.central.begin() as connection:
                if approving:
                    certificates.approve(connection, plc.central.authority, AS_OPERATOR, email, plc.settings, now)
                else:
                    certificates.deny(connection, AS_OPERATOR, email, "no", plc.settings, now)

        with ThreadPoolExecutor(1) as pool:
            with plc.central.begin() as connection:
                accounts.load(connection, email, lock=True)
                late = pool.submit(second)
                wait_for_a_waiter(plc)
                certificates.deny(connection, AS_OPERATOR, email, "first", plc.settings, now)
            refused(late.result, Code.NOT_FOUND, "waits")
        assert plc.anyone().request_status(email, key).reason == "first"


class TestProofs:
    def test_the_status_is_for_the_holder_of_the_key(
        self, plc: Running, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
    ) -> None:
        email, other = plc.person(), plc.person()
        asked(plc, email, key)
        anyone, words = plc.anyone(), "no certificate request"
        refused(lambda: anyone.request_status(email, other_key), Code.NOT_FOUND, words)
        refused(lambda: anyone.request_status(other, key), Code.NOT_FOUND, words)
        refused(lambda: anyone.request_status("ghost@example.org", key), Code.NOT_FOUND, words)

    def test_another_keys_proof(self, plc: Running, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey) -> None:
        email, now = plc.person(), plc.central.clock.now()
        asked(plc, email, key)
        forged = sign_proof(Identity.user(email), other_key, now)
        sha256 = key_sha256(key.public_key())
        with plc.central.begin() as connection:
            refused(
                lambda: certificates.status(connection, Identity.user(email), sha256, forged, now),
                Code.NOT_AUTHENTICATED,
                "not signed with the key",
            )


class TestRenewal:
    def test_no_more_than_ten_an_hour(self, plc: Running) -> None:
        who = plc.certified()
        request = new_request(plc.user_key, who.identity)
        for _ in range(9):  # the tenth is the one that it has
            who.plc.renew_certificate(request)
        refused(lambda: who.plc.renew_certificate(request), Code.OVER_CAPACITY, "10 certificates within an hour")

    def test_a_key_of_the_wrong_type(self, plc: Running) -> None:
        who = plc.certified()
        request = new_request(new_private_key(Role.NODE), who.identity)
        refused(lambda: who.plc.renew_certificate(request), Code.BAD_INPUT, "RSA of 2048")

    def test_a_revoked_certificate_renews_nothing(self, plc: Running) -> None:
        who, now = plc.certified(), plc.central.clock.now()
        serial, key = (
            who.credentials.certificate.serial_number,
            public_key_of_request(new_request(plc.user_key, who.identity)),
        )
        with plc.central.begin() as connection:
            ca.revoke(connection, who.identity, "stolen", now)
            refused(
                lambda: certificates.renew(
                    connection, plc.central.authority, who.email, serial, key, plc.settings, now
                ),
                Code.REVOKED,
                "revoked",
            )

    def test_a_disabled_account_renews_nothing(self, plc: Running) -> None:
        who = plc.certified()
        with plc.central.begin() as connection:
            connection.execute(update(account).where(account.c.email == who.email).values(state="disabled"))
        request = new_request(plc.user_key, who.identity)
        refused(lambda: who.plc.renew_certificate(request), Code.NOT_ALLOWED, "is disabled")

    def test_whose_certificates_one_revokes(self, plc: Running) -> None:
        who, other = plc.certified(), plc.certified()
        mine, theirs = who.credentials.certificate.serial_number, other.credentials.certificate.serial_number
        refused(lambda: who.plc.revoke_certificate(theirs), Code.NOT_FOUND, "no certificate with that serial")
        refused(lambda: who.plc.revoke_certificate(12345), Code.NOT_FOUND, "no certificate with that serial")
        refused(lambda: who.plc.revoke_certificate(mine), Code.BAD_INPUT, "does not revoke itself")
        newer = certificate_from_pem(who.plc.renew_certificate(new_request(plc.user_key, who.identity)))
        who.plc.revoke_certificate(newer.serial_number)
        who.plc.revoke_certificate(newer.serial_number)
        assert newer.serial_number in (plc.store().revocations or pytest.fail("no list")).serials
