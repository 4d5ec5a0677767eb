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
class Office:
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
def office(fresh_database: Callable[..., str], box: tuple[Mailbox, str]) -> Iterator[Office]:
    url = fresh_database("plc")
    database.migrate(url, "plc")
    engine = database.engine(url)
    box[0].letters.clear()
    box[0].refusal, box[0].unknown, box[0].texts, box[0].hangs_up = None, {}, {}, set()
    yield Office(engine, *box)
    engine.dispose()


def test_a_letter_arrives_once(office: Office) -> None:
    office.write("a@example.org", subject="Hello\n there")
    assert office.deliver() == 1
    assert office.deliver(after=10_000) == 0
    (sent,) = office.box.letters
    assert (sent["From"], sent["To"], sent["Subject"]) == ("operator@example.org", "a@example.org", "Hello there")
    assert sent["Auto-Submitted"] == "auto-generated"
    assert sent.get_content().strip() == "Grüße"
    assert office.rows()[0].sent_at is not None


def test_a_dead_mail_server_loses_nothing(office: Office) -> None:
    office.write("a@example.org", "b@example.org")
    dead = "smtp://127.0.0.1:1"
    assert office.deliver(url=dead) == 2
    assert office.deliver(url=dead) == 0  # not yet again
    assert office.deliver(url=dead, after=11) == 2
    assert office.deliver(after=22) == 0  # the pause grows
    assert office.deliver(after=40) == 2
    assert [sent["To"] for sent in office.box.letters] == ["a@example.org", "b@example.org"]
    assert {row.attempts for row in office.rows()} == {3}


def test_a_server_that_says_later_is_asked_later(office: Office) -> None:
    office.box.refusal = "451 try again later"
    office.write("a@example.org")
    office.deliver()
    (row,) = office.rows()
    assert (row.sent_at, row.given_up_at, "451" in row.last_error) == (None, None, True)
    office.box.refusal = None
    office.deliver(after=11)
    assert len(office.box.letters) == 1


def test_a_server_that_says_never_is_not_asked_again_and_others_get_theirs(office: Office) -> None:
    office.box.refusal = "554 no such text"
    office.write("a@example.org")
    office.deliver()
    office.box.refusal = None
    office.write("b@example.org")
    assert office.deliver(after=10_000) == 1
    refused, sent = office.rows()
    assert refused.given_up_at is not None
    assert sent.sent_at is not None


def test_an_address_that_nobody_has(office: Office) -> None:
    office.box.unknown = {"ghost@example.org": "550 nobody here", "full@example.org": "452 mailbox full"}
    office.write("ghost@example.org", "full@example.org", "a@example.org")
    office.deliver()
    ghost, full, sent = office.rows()
    assert (ghost.given_up_at is not None, full.given_up_at, sent.sent_at is not None) == (True, None, True)
    office.box.unknown = {}
    assert office.deliver(after=11) == 1


def test_a_postman_that_died_with_the_bag_leaves_it_to_the_next(office: Office) -> None:
    """Claimed and never recorded: two postmen at once never take the same letter, later one does."""
    office.write("a@example.org")
    now = SystemClock().now()
    with office.engine.begin() as first, office.engine.begin() as second:
        assert len(_claim(first, now)) == 1
        assert _claim(second, now) == []
    assert office.deliver() == 0
    assert office.deliver(after=121) == 1


def test_many_letters_go_in_batches(office: Office) -> None:
    office.write(*(f"user{number}@example.org" for number in range(AT_ONCE + 1)))
    assert office.deliver() == AT_ONCE
    assert office.deliver() == 1


def test_the_thread_outlives_a_database_that_is_away(office: Office) -> None:
    broken = database.engine("postgresql+psycopg://plc@/nothing?host=/nonexistent")
    for engine in (broken, office.engine):
        postman = Postman(engine, office.url, "operator@example.org", SystemClock())
        postman.start()
        postman.stop()
    idle = Postman(office.engine, "", "operator@example.org", SystemClock())
    idle.start()
    idle.stop()
    broken.dispose()


def test_when_it_was_written_is_its_date(office: Office) -> None:
    office.write("a@example.org")
    office.deliver()
    written = office.rows()[0].written_at
    assert abs(datetime.strptime(office.box.letters[0]["Date"], "%a, %d %b %Y %H:%M:%S %z") - written) < timedelta(
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
def test_whatever_goes_wrong_with_one_letter_the_next_goes_out(office: Office, recipient: str, ends: bool) -> None:
    office.box.unknown = {"never@example.org": "550 nobody here"}
    office.box.texts = {"text@example.org": "554 no such text"}
    office.box.hangs_up = {"hangs-up@example.org"}
    office.write("a@example.org", recipient, "b@example.org", "c@example.org")
    office.deliver()
    bad = office.rows()[1]
    assert (bad.sent_at, bad.given_up_at is not None) == (None, ends)
    assert bad.last_error
    assert bad.next_try_at > bad.written_at
    assert [sent["To"] for sent in office.box.letters] == [f"{name}@example.org" for name in "abc"]


def test_a_letter_that_is_put_off_for_days_is_given_up(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.box.unknown = {"full@example.org": "452 mailbox full"}
    office.write("full@example.org")
    office.deliver()
    assert office.rows()[0].given_up_at is None
    office.deliver(after=5 * 86_400 + 60)
    assert office.rows()[0].given_up_at is not None
    assert "given up" in caplog.text


def test_a_line_of_any_length_goes_out(office: Office) -> None:
    office.write("a@example.org", body="x" * 5000 + "\n")
    office.deliver()
    assert office.box.letters[0].get_content().strip() == "x" * 5000
