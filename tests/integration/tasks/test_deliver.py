"""What the outbox holds goes out: links that real nodes renew by, webhooks that a real server takes."""

import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from lifecycle import hooks
from lifecycle.links import PATH, Link
from lifecycle.operations import LETTER, OperationRequest, Verb, start
from models.states import HookState, Outcome
from rpc.credentials import Credentials
from rpc.settings import split_networks
from tasks.deliver import deliver
from tasks.notify import notify
from tasks.publish import publish
from tests.integration.agent.lab import slice_name
from tests.integration.mailbox import Mailbox, mail_server
from tests.integration.receiver import Call, Receiver, receiving
from tests.integration.tasks.farm import Farm
from trust.documents import DelegationKind

WEEK = 7 * 86_400
PAGE = "https://slices.example.org:7446"


@pytest.fixture
def mailbox(farm: Farm) -> Iterator[Mailbox]:
    """A mail server, and a worker that knows of it and of the page; and may call loopback."""
    before = farm.process.worker_context.policy
    for table in ("notice", "delivery"):
        farm.execute(f"DELETE FROM svm.{table}")  # noqa: S608 - constants of this line
    with mail_server() as (box, url):
        allowed = split_networks("127.0.0.0/8")
        farm.process.worker_context.policy = replace(before, smtp_url=url, links_url=PAGE, hooks_allow=allowed)
        yield box
        farm.process.worker_context.policy = before


def hooked(farm: Farm, name: str, url: str) -> str:
    """The secret of a hook of this slice."""
    (row,) = farm.rows("SELECT id FROM svm.slice WHERE name = :n AND state = 'open'", n=name)
    with farm.database.begin() as connection:
        return hooks.put(connection, row.id, url, tuple(HookState), farm.process.worker_context.seal)


def ending(farm: Farm) -> None:
    """As beat does, a day before the leases end."""
    farm.execute("UPDATE svm.sliver SET expires_at = now() + interval '20 hours'")
    notify()
    deliver()


def test_a_letter_has_a_link_that_its_slice_s_nodes_renew_by(farm: Farm, owner: Credentials, mailbox: Mailbox) -> None:
    """The permission for links is all that svmd has left: what came with the command has ended."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK, by_link=farm.given(owner, name, DelegationKind.STANDING))
    ending(farm)
    (letter,) = mailbox.letters
    text = letter.get_content()
    assert f"svm renewslice {name}" in text
    assert f"svm autorenew {name} on" in text
    (line,) = [line for line in text.splitlines() if line.startswith(PAGE)]
    link = Link.read(line.removeprefix(PAGE + PATH), farm.process.worker_context.seal)
    assert link is not None
    (row,) = farm.rows("SELECT id, name FROM svm.slice WHERE id = :id", id=link.slice)
    assert row.name == name
    farm.execute("UPDATE svm.slice SET working = NULL, working_until = NULL")
    with farm.database.begin() as connection:
        started = start(connection, OperationRequest(Verb.RENEWSLICE, name, owner.identity, actor=LETTER))
    publish(started.publish)
    ended = farm.ended(started.operation)
    assert (ended.outcome, ended.ok) == (Outcome.DONE, 4)


def test_without_a_permission_for_links_there_is_none(farm: Farm, owner: Credentials, mailbox: Mailbox) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK)
    ending(farm)
    (letter,) = mailbox.letters
    assert PATH not in letter.get_content()
    assert f"To keep it:  svm renewslice {name}" in letter.get_content()


def test_a_permission_for_links_does_nothing_but_that(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, by_link=farm.given(owner, name, DelegationKind.STANDING))
    farm.execute("UPDATE svm.slice SET working = NULL, working_until = NULL")
    with farm.database.begin() as connection:
        started = start(connection, OperationRequest(Verb.RENEWSLICE, name, owner.identity))
    publish(started.publish)
    assert farm.ended(started.operation).ok == 0
    assert set(farm.errors(started.operation).values()) == {"not-allowed"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_a_hook_hears_in_order_and_signed(farm: Farm, owner: Credentials, mailbox: Mailbox, receiver: Receiver) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK)
    secret = hooked(farm, name, receiver.url)
    ending(farm)
    farm.run(Verb.DELETESLICE, name, owner)
    deliver()
    deliver()
    assert [call.told["type"] for call in receiver.calls] == ["slice.ending", "slice.ended"]
    assert all(call.is_signed_with(secret) for call in receiver.calls)
    first, second = (call.told["data"] for call in receiver.calls)
    assert (first["slice"], first["what"], first["days"]) == (name, "lease", 1)
    assert second == {"slice": name, "reason": "its owner deletes it"}
    assert len({call.id for call in receiver.calls}) == 2


def test_a_receiver_that_is_away_hears_the_same_later(
    farm: Farm, owner: Credentials, mailbox: Mailbox, receiver: Receiver
) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK)
    hooked(farm, name, receiver.url)
    receiver.answer = lambda _: 503
    ending(farm)
    deliver()
    assert len(receiver.calls) == 1
    receiver.answer = lambda _: 200
    farm.execute("UPDATE svm.delivery SET next_try_at = now() WHERE hook IS NOT NULL")
    deliver()
    deliver()
    first, second = receiver.calls
    assert (first.id, first.body) == (second.id, second.body)


def answer_late(call: Call) -> int:
    """The one of this path takes longer than its caller waits."""
    time.sleep(1.0 if call.path.endswith("silent") else 0)
    return 200


def test_one_that_hangs_keeps_nobody_else_waiting(
    farm: Farm, owner: Credentials, mailbox: Mailbox, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpc.webhooks.SECONDS", 0.5)
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK)
    silent_url = f"{receiver.url}/silent"
    hooked(farm, name, silent_url)
    hooked(farm, name, receiver.url)
    receiver.answer = answer_late
    ending(farm)
    found = farm.rows("SELECT h.url, d.sent_at, d.last_error FROM svm.delivery d JOIN svm.hook h ON h.id = d.hook")
    assert {row.url: row.last_error for row in found} == {silent_url: "no answer within 0.5 s", receiver.url: None}
    assert {row.url for row in found if row.sent_at} == {receiver.url}


def test_deadlines_are_the_letter_s(farm: Farm, owner: Credentials, mailbox: Mailbox) -> None:
    """What the link names is the row that it is used up in, to the microsecond."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, leaselen=WEEK, by_link=farm.given(owner, name, DelegationKind.STANDING))
    ending(farm)
    (line,) = [line for line in mailbox.letters[0].get_content().splitlines() if line.startswith(PAGE)]
    link = Link.read(line.removeprefix(PAGE + PATH), farm.process.worker_context.seal)
    assert link is not None
    rows = farm.rows("SELECT slice, deadline, days FROM svm.notice")
    assert [(UUID(str(row.slice)), row.deadline, row.days) for row in rows] == [(link.slice, link.deadline, link.days)]
