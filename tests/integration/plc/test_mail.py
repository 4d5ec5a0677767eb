"""The outbox against a real SMTP server: nothing is lost, nothing is sent for ever to who refuses it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, Row, select

from models import database
from models.plc import letter
from plc.mail import AT_ONCE, Letter, Postman, _claim, deliver, post
from tests.integration.mailbox import Mailbox, mail_server
from trust.clock import SystemClock


@dataclass
class Context:
    engine: Engine
    box: Mailbox
    url: str

    def write(self, *recipients: str, subject: str = "Hello", body: str = "Grüße\n") -> None:
        with self.engine.begin() as connection:
            for recipient in recipients:
                post(connection, Letter(recipient, subject, body), SystemClock().now())

    def deliver(self, *, url: str | None = None, after: int = 0) -> int:
        return deliver(self.engine, url or self.url, "operator@example.org", SystemClock(offset=after))

    def rows(self) -> list[Row[Any]]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(letter).order_by(letter.c.id)))


@pytest.fixture(scope="module")
def box() -> Iterator[tuple[Mailbox, str]]:
    with mail_server(enable_SMTPUTF8=False) as found:
        yield found


@pytest.fixture
def context(fresh_database: Callable[..., str], box: tuple[Mailbox, str]) -> Iterator[Context]:
    url = fresh_database("plc")
    database.migrate(url, "plc")
    engine = database.engine(url)
    box[0].letters.clear()
    box[0].refusal, box[0].unknown, box[0].texts, box[0].hangs_up = None, {}, {}, set()
    yield Context(engine, *box)
    engine.dispose()


def test_a_letter_arrives_once(context: Context) -> None:
    context.write("a@example.org", subject="Hello\n there")
    assert context.deliver() == 1
    assert context.deliver(after=10_000) == 0
    (sent,) = context.box.letters
    assert (sent["From"], sent["To"], sent["Subject"]) == ("operator@example.org", "a@example.org", "Hello there")
    assert sent["Auto-Submitted"] == "auto-generated"
    assert sent.get_content().strip() == "Grüße"
    assert context.rows()[0].sent_at is not None


def test_a_dead_mail_server_loses_nothing(context: Context) -> None:
    context.write("a@example.org", "b@example.org")
    dead = "smtp://127.0.0.1:1"
    assert context.deliver(url=dead) == 2
    assert context.deliver(url=dead) == 0  # not yet again
    assert context.deliver(url=dead, after=11) == 2
    assert context.deliver(after=22) == 0  # the pause grows
    assert context.deliver(after=40) == 2
    assert [sent["To"] for sent in context.box.letters] == ["a@example.org", "b@example.org"]
    assert {row.attempts for row in context.rows()} == {3}


def test_a_server_that_says_later_is_asked_later(context: Context) -> None:
    context.box.refusal = "451 try again later"
    context.write("a@example.org")
    context.deliver()
    (row,) = context.rows()
    assert (row.sent_at, row.given_up_at, "451" in row.last_error) == (None, None, True)
    context.box.refusal = None
    context.deliver(after=11)
    assert len(context.box.letters) == 1


def test_a_server_that_says_never_is_not_asked_again_and_others_get_theirs(context: Context) -> None:
    context.box.refusal = "554 no such text"
    context.write("a@example.org")
    context.deliver()
    context.box.refusal = None
    context.write("b@example.org")
    assert context.deliver(after=10_000) == 1
    refused, sent = context.rows()
    assert refused.given_up_at is not None
    assert sent.sent_at is not None


def test_an_address_that_nobody_has(context: Context) -> None:
    context.box.unknown = {"ghost@example.org": "550 nobody here", "full@example.org": "452 mailbox full"}
    context.write("ghost@example.org", "full@example.org", "a@example.org")
    context.deliver()
    ghost, full, sent = context.rows()
    assert (ghost.given_up_at is not None, full.given_up_at, sent.sent_at is not None) == (True, None, True)
    context.box.unknown = {}
    assert context.deliver(after=11) == 1


def test_a_postman_that_died_with_the_bag_leaves_it_to_the_next(context: Context) -> None:
    """Claimed and never recorded: two postmen at once never take the same letter, later one does."""
    context.write("a@example.org")
    now = SystemClock().now()
    with context.engine.begin() as first, context.engine.begin() as second:
        assert len(_claim(first, now)) == 1
        assert _claim(second, now) == []
    assert context.deliver() == 0
    assert context.deliver(after=121) == 1


def test_many_letters_go_in_batches(context: Context) -> None:
    context.write(*(f"user{number}@example.org" for number in range(AT_ONCE + 1)))
    assert context.deliver() == AT_ONCE
    assert context.deliver() == 1


def test_the_thread_outlives_a_database_that_is_away(context: Context) -> None:
    broken = database.engine("postgresql+psycopg://plc@/nothing?host=/nonexistent")
    for engine in (broken, context.engine):
        postman = Postman(engine, context.url, "operator@example.org", SystemClock())
        postman.start()
        postman.stop()
    idle = Postman(context.engine, "", "operator@example.org", SystemClock())
    idle.start()
    idle.stop()
    broken.dispose()


def test_when_it_was_written_is_its_date(context: Context) -> None:
    context.write("a@example.org")
    context.deliver()
    written = context.rows()[0].written_at
    assert abs(datetime.strptime(context.box.letters[0]["Date"], "%a, %d %b %Y %H:%M:%S %z") - written) < timedelta(
        seconds=2
    )


@pytest.mark.parametrize(
    ("recipient", "ends"),
    [
        ("never@example.org", True),
        ("text@example.org", True),
        ("hangs-up@example.org", False),
        ("fall\u00e1s@example.org", True),
        ("no\nheader@example.org", True),
        (f"{'x' * 600}@example.org", True),
    ],
)
def test_whatever_goes_wrong_with_one_letter_the_next_goes_out(context: Context, recipient: str, ends: bool) -> None:
    context.box.unknown = {"never@example.org": "550 nobody here"}
    context.box.texts = {"text@example.org": "554 no such text"}
    context.box.hangs_up = {"hangs-up@example.org"}
    context.write("a@example.org", recipient, "b@example.org", "c@example.org")
    context.deliver()
    bad = context.rows()[1]
    assert (bad.sent_at, bad.given_up_at is not None) == (None, ends)
    assert bad.last_error
    assert bad.next_try_at > bad.written_at
    assert [sent["To"] for sent in context.box.letters] == [f"{name}@example.org" for name in "abc"]


def test_a_letter_that_is_put_off_for_days_is_given_up(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    context.box.unknown = {"full@example.org": "452 mailbox full"}
    context.write("full@example.org")
    context.deliver()
    assert context.rows()[0].given_up_at is None
    context.deliver(after=5 * 86_400 + 60)
    assert context.rows()[0].given_up_at is not None
    assert "given up" in caplog.text


def test_a_line_of_any_length_goes_out(context: Context) -> None:
    context.write("a@example.org", body="x" * 5000 + "\n")
    context.deliver()
    assert context.box.letters[0].get_content().strip() == "x" * 5000
