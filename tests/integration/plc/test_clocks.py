"""A service whose clock is off by more than is allowed says so in one line: in its log, at /healthz, at its start."""

import logging
from collections.abc import Iterator

import pytest

from plc.client import Member
from rpc.health import Health, own
from tests.integration.plc.conftest import Running, refused
from trust.clock import SystemClock
from trust.documents import SKEW
from trust.errors import Code
from trust.identity import Role


@pytest.fixture(scope="module")
def enrolled(plc: Running) -> Member:
    return plc.member(Role.NODE)


@pytest.fixture
def moved(plc: Running, enrolled: Member, request: pytest.FixtureRequest) -> Iterator[Member]:
    """The same node with its clock moved by so many seconds."""
    member = Member(enrolled.credentials, plc.url, SystemClock(request.param))
    yield member
    member.close()


@pytest.mark.parametrize(
    ("moved", "said"), [(-7200, r"behind plc's: set it"), (7200, r"ahead of plc's: set it")], indirect=["moved"]
)
def test_a_clock_that_is_off_is_named_once(moved: Member, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        moved.refresh()
        moved.refresh()
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("the clock is 7")
    assert said in told
    assert Health(**own(moved.credentials, moved.store)).why()["clock"] == told


@pytest.mark.parametrize("moved", [-SKEW // 2, 0, SKEW // 2], indirect=True)
def test_one_that_is_off_by_what_is_allowed_is_well(moved: Member) -> None:
    moved.refresh()
    assert Health(**own(moved.credentials, moved.store)).why() == {}


def test_it_is_well_again_once_it_is_set(plc: Running, enrolled: Member) -> None:
    member = Member(enrolled.credentials, plc.url, SystemClock(-7200))
    member.refresh()
    member.store.clock = SystemClock()
    member.refresh()
    assert member.store.clock_trouble is None
    member.close()


def test_a_certificate_that_has_ended_by_this_clock_alone(plc: Running, enrolled: Member) -> None:
    refused(
        lambda: Member.join(
            directory=enrolled.credentials.directory,
            plc_url=plc.url,
            role=Role.NODE,
            name=enrolled.identity.name,
            clock=SystemClock(30 * 86_400),
        ),
        Code.NOT_AUTHENTICATED,
        "UTC; if this machine's clock is right, get a token",
    )
