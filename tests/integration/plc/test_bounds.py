"""Rows that others make plc write: so many for one subject, and not for ever."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, insert, select, update

from models import plc as tables
from plc import accounts, certificates, enrolment, names
from plc.accounts import Application
from plc.ca import PER_HOUR
from plc.client.proofs import key_sha256
from plc.forgetting import forget
from plc.journal import note
from plc.mail import Letter, post
from tests.integration.passwords import CHEAP
from tests.integration.plc.conftest import Running, refused, register
from trust.certificates import new_private_key, new_request
from trust.errors import Code
from trust.identity import Identity, Role


def test_a_service_gets_so_many_certificates_within_an_hour(plc: Running) -> None:
    node = plc.member(Role.NODE)
    request = new_request(new_private_key(Role.NODE), node.identity)
    for _ in range(PER_HOUR - 1):
        node.plc.renew_certificate(request)
    refused(partial(node.plc.renew_certificate, request), Code.OVER_CAPACITY, "certificates within an hour")
    with plc.central.begin() as connection:
        mine = select(func.count()).where(tables.certificate.c.name == node.identity.name)
        assert connection.scalar(mine) == PER_HOUR


def test_short_certificates_may_be_renewed_as_often_as_they_must(plc: Running) -> None:
    node, central = plc.member(Role.NODE), plc.central
    serial, key = node.credentials.certificate.serial_number, new_private_key(Role.NODE).public_key()
    with central.begin() as connection:
        for _ in range(90):  # 60 s each, renewed at two thirds
            enrolment.renew_service(connection, central.authority, node.identity, serial, key, 60, central.clock.now())


def test_one_token_is_not_good_for_any_number_of_certificates(plc: Running) -> None:
    key, central, now = new_private_key(Role.NODE).public_key(), plc.central, plc.central.clock.now()
    with central.begin() as connection:
        place = enrolment.Enrolment(Identity(Role.NODE, "tokened"), ("127.0.0.1",))
        (token,) = enrolment.make_tokens(connection, central.authority, accounts.OPERATOR, [place], now)
        secret = token.split("-")[-2]
        later = now + timedelta(seconds=1)
        enrol = partial(enrolment.enrol, connection, central.authority, secret, key, [], 86_400, later)
        for _ in range(PER_HOUR):
            enrol()
        refused(enrol, Code.OVER_CAPACITY, "within an hour")


def test_an_account_asks_for_so_many_certificates_within_an_hour(plc: Running) -> None:
    email, now = plc.person(), plc.central.clock.now()
    one, other = new_private_key(Role.USER).public_key(), plc.user_key.public_key()
    with plc.central.begin() as connection:
        who = accounts.load(connection, email, lock=True)
        ask = partial(certificates.ask, connection, who, settings=plc.settings, now=now)
        for number in range(certificates.REQUESTS_PER_HOUR):
            ask(key=(one, other)[number % 2])
        refused(lambda: ask(key=one), Code.OVER_CAPACITY, "within an hour")
        assert ask(key=other).key_sha256 == key_sha256(other)  # it waits already


def test_strangers_do_not_fill_a_site(plc: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MOST_REQUESTED", 3)
    plc.person(site="Crowded")

    def sign_up(name: str) -> None:
        with plc.central.begin() as connection:
            wanted = Application(f"{name}@example.org", name, "Crowded", "", {})
            accounts.sign_up(connection, wanted, CHEAP.hash("x"), "operator@example.org", plc.central.clock.now())

    for name in ("one", "two", "three"):
        sign_up(name)
    refused(lambda: sign_up("four"), Code.OVER_CAPACITY, "wait for an account")


def test_who_signs_up_again_and_again_writes_one_letter_a_day(plc: Running) -> None:
    email, now = plc.person(), plc.central.clock.now()
    with plc.central.begin() as connection:
        for _ in range(3):
            again = Application(email, "x", "Princeton", "", {})
            accounts.sign_up(connection, again, CHEAP.hash("x"), "operator@example.org", now)
        letters = select(func.count()).where(tables.letter.c.recipient == email)
        assert connection.scalar(letters) == 1


def test_names_that_are_taken_and_given_back_end_somewhere(plc: Running) -> None:
    email, now = plc.person(is_pi=True), plc.central.clock.now()
    with plc.central.begin() as connection:
        who = accounts.load(connection, email, lock=True)
        for number in range(names.NAMES_PER_HOUR):
            slice_id = names.register(connection, f"churn_{number}", who, "agent", 1, now)
            names.release(connection, f"churn_{number}", slice_id, "agent", None, now)
        take = partial(names.register, connection, "churn_more", who, "agent", 1)
        refused(lambda: take(now), Code.OVER_CAPACITY, "within an hour")
        take(now + timedelta(hours=1, seconds=1))


def test_a_user_changes_so_much_within_an_hour_and_may_always_take_away(plc: Running) -> None:
    email, now = plc.person(), plc.central.clock.now()
    row = {"at": now, "who": email, "what": "add-key", "whom": email}
    with plc.central.begin() as connection:
        connection.execute(insert(tables.event), [row] * 500)
        refused(lambda: note(connection, now, email, "add-key", email), Code.OVER_CAPACITY, "changes within an hour")
        note(connection, now, email, "remove-key", email)
        note(connection, now + timedelta(hours=1, seconds=1), email, "add-key", email)


def test_what_ended_long_ago_is_forgotten_and_nothing_else(plc: Running) -> None:
    owner = plc.certified(is_pi=True)
    kept, gone = (register(plc.opened_agent, name, owner) for name in ("kept_name", "gone_name"))
    plc.opened_agent.plc.release_slice("gone_name", gone)
    now, mine = plc.central.clock.now(), tables.letter.c.recipient == "forgotten@example.org"
    certificates_ = select(func.count()).where(tables.certificate.c.name == owner.email)
    with plc.central.begin() as connection:
        post(connection, Letter("forgotten@example.org", "sent", ""), now)
        connection.execute(update(tables.letter).where(mine).values(sent_at=now))
        post(connection, Letter("forgotten@example.org", "waits", ""), now)
        savepoint = connection.begin_nested()
        forget(connection, 365, now)
        assert connection.scalar(select(func.count()).where(mine)) == 2
        assert connection.scalar(certificates_) == 1
        forget(connection, 365, now + timedelta(days=365 + 91))
        assert connection.scalars(select(tables.letter.c.subject).where(mine)).all() == ["waits"]
        assert connection.scalar(certificates_) == 0
        left = connection.scalars(select(tables.slice_name.c.slice_id)).all()
        assert (kept in left, gone in left) == (True, False)
        assert accounts.find(connection, owner.email) is not None
        savepoint.rollback()
