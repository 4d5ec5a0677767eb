"""Letters to owners, through a real mail server."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy.exc import ProgrammingError

from lifecycle.operations import Verb
from lifecycle.renewal import over
from rpc.credentials import Credentials
from tasks.autorenew import autorenew, switch_off
from tasks.context import transaction
from tasks.deliver import deliver
from tasks.notify import notify
from tests.integration.agent.lab import slice_name
from tests.integration.mailbox import Mailbox, mail_server
from tests.integration.tasks.farm import Farm
from trust.documents import DelegationKind

WEEK = 7 * 86_400


def tell() -> None:
    """As beat does."""
    notify()
    deliver()


@pytest.fixture
def mailbox(farm: Farm) -> Iterator[Mailbox]:
    """A mail server, and a worker that knows of it. Nothing is due of the tests before this one."""
    before = farm.process.worker_context.policy
    farm.execute("DELETE FROM svm.notice")
    farm.execute("DELETE FROM svm.delivery")
    with mail_server() as (box, url):
        farm.process.worker_context.policy = replace(before, smtp_url=url)
        yield box
        farm.process.worker_context.policy = before


def test_an_owner_is_told_once_that_leases_end(farm: Farm, owner: Credentials, mailbox: Mailbox) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK)
    tell()
    assert mailbox.letters == []
    farm.execute("UPDATE svm.sliver SET expires_at = now() + interval '20 hours'")
    tell()
    tell()
    (letter,) = mailbox.letters
    assert letter["To"] == owner.identity.name
    assert letter["Subject"] == f"{name}: its leases end within 1 day"


def test_an_owner_is_told_that_autorenew_has_ended(farm: Farm, owner: Credentials, mailbox: Mailbox) -> None:
    name = slice_name()
    standing = farm.given(owner, name, DelegationKind.STANDING)
    farm.run(Verb.CREATESLICE, name, owner, autorenew=True, standing=standing)
    farm.execute("UPDATE svm.slice SET autorenew_until = now() WHERE name = :n", n=name)
    autorenew()
    tell()
    tell()
    assert [letter["Subject"] for letter in mailbox.letters] == [f"{name}: autorenew has ended"]


def test_without_its_letter_autorenew_does_not_end(farm: Farm, owner: Credentials, mailbox: Mailbox) -> None:
    """As if the database went away between the two."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, autorenew=True, standing=farm.given(owner, name, DelegationKind.STANDING))
    farm.execute("UPDATE svm.slice SET autorenew_until = now() WHERE name = :n", n=name)
    farm.execute("ALTER TABLE svm.notice RENAME TO away")
    try:
        with pytest.raises(ProgrammingError):
            autorenew()
    finally:
        farm.execute("ALTER TABLE svm.away RENAME TO notice")
    assert farm.rows("SELECT autorenew FROM svm.slice WHERE name = :n", n=name) == [(True,)]
    autorenew()
    tell()
    assert [letter["Subject"] for letter in mailbox.letters] == [f"{name}: autorenew has ended"]


def test_an_owner_who_is_just_in_time_keeps_autorenew(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    standing = farm.given(owner, name, DelegationKind.STANDING)
    farm.run(Verb.CREATESLICE, name, owner, autorenew=True, standing=standing)
    farm.execute("UPDATE svm.slice SET autorenew_until = now() WHERE name = :n", n=name)
    (found,) = [each for each in transaction(over) if each.name == name]
    farm.run(Verb.AUTORENEW, name, owner, autorenew=True, standing=standing)
    switch_off(found)
    assert farm.rows("SELECT autorenew FROM svm.slice WHERE name = :n", n=name) == [(True,)]


def test_a_mail_server_that_is_away_loses_no_letter(farm: Farm, owner: Credentials, mailbox: Mailbox) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK)
    farm.execute("UPDATE svm.sliver SET expires_at = now() + interval '20 hours'")
    there = farm.process.worker_context.policy
    farm.process.worker_context.policy = replace(there, smtp_url="smtp://127.0.0.1:9")
    tell()
    farm.process.worker_context.policy = there
    farm.execute("UPDATE svm.delivery SET next_try_at = now()")
    tell()
    assert len(mailbox.letters) == 1


@pytest.mark.parametrize("how", ["unknown", "hangs_up"])
def test_one_owner_s_address_keeps_no_other_s_letter(
    farm: Farm, owner: Credentials, mailbox: Mailbox, how: str
) -> None:
    other = farm.lab.user()
    for who in (owner, other):
        farm.run(Verb.CREATESLICE, slice_name(), who, leaselen=WEEK)
    bad = owner.identity.name
    if how == "unknown":
        mailbox.unknown = {bad: "550 nobody here"}
    else:
        mailbox.hangs_up = {bad}
    farm.execute("UPDATE svm.sliver SET expires_at = now() + interval '20 hours'")
    tell()
    assert [letter["To"] for letter in mailbox.letters] == [other.identity.name]
    mailbox.unknown, mailbox.hangs_up = {}, set()
    farm.execute("UPDATE svm.delivery SET next_try_at = now()")
    tell()
    assert len(mailbox.letters) == (1 if how == "unknown" else 2)
