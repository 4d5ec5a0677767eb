import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://planet-lab/user/llp@cs.princeton.edu",
        "spiffe://planet-lab/user/o'brien+slices_1@x.org",
        "spiffe://planet-lab/user/root@localhost",
        "spiffe://planet-lab/agent/main",
        "spiffe://planet-lab/node/n1",
        "spiffe://planet-lab/node/planetlab-1.cs.princeton.edu",
        "spiffe://planet-lab/svm/" + "a" * 63,
        "spiffe://planet-lab/plc/0",
    ],
)
def test_an_identity_reads_and_writes_the_same(uri: str) -> None:
    assert str(Identity.parse(uri)) == Identity.parse(uri).uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://planet-lab",
        "spiffe://planet-lab/",
        "spiffe://planet-lab/user",
        "spiffe://planet-lab/node/",
        "spiffe://planet-lab/root/n1",
        "spiffe://planet-lab/NODE/n1",
        "spiffe://planet-lab/Role.NODE/n1",
        "spiffe://Planet-Lab/node/n1",
        "spiffe://planet-lab.evil/node/n1",
        "https://planet-lab/node/n1",
        "xspiffe://planet-lab/node/n1",
        "node/n1",
        "spiffe://planet-lab/node/n1/",
        "spiffe://planet-lab/node/n1\n",
        "spiffe://planet-lab/node/n1?x",
        "spiffe://planet-lab/node/n%31",
        "spiffe://planet-lab/node/N1",
        "spiffe://planet-lab/node/n1.",
        "spiffe://planet-lab/node/-n1",
        "spiffe://planet-lab/node/n_1",
        "spiffe://planet-lab/node/llp@cs.princeton.edu",
        "spiffe://planet-lab/node/" + "a" * 64,
        "spiffe://planet-lab/user/llp",
        "spiffe://planet-lab/user/@x.org",
        "spiffe://planet-lab/user/llp@",
        "spiffe://planet-lab/user/LLP@x.org",
        "spiffe://planet-lab/user/llp@x.org\n",
        "spiffe://planet-lab/user/llp@x@y.org",
        "spiffe://planet-lab/user/l/p@x.org",
        "spiffe://planet-lab/user/l%70@x.org",
        "spiffe://planet-lab/user/llp?@x.org",
        "spiffe://planet-lab/user/llp#@x.org",
        "spiffe://planet-lab/user/l lp@x.org",
        "spiffe://planet-lab/user/.llp@x.org",
        "spiffe://planet-lab/user/l..p@x.org",
        "spiffe://planet-lab/user/llp@x..org",
        "spiffe://planet-lab/user/llp@-x.org",
        "spiffe://planet-lab/user/llp@[127.0.0.1]",
        "spiffe://planet-lab/user/" + "a" * 65 + "@x.org",
        "spiffe://planet-lab/user/a@" + "b." * 126 + "org",
    ],
)
def test_what_is_no_identity_is_refused(uri: str) -> None:
    with pytest.raises(Refusal) as refusal:
        Identity.parse(uri)
    assert refusal.value.code is Code.BAD_INPUT


def test_an_email_is_lowered_and_trimmed() -> None:
    assert Identity.user(" LLP@CS.Princeton.EDU ") == Identity(Role.USER, "llp@cs.princeton.edu")


def test_an_email_that_only_lowers_to_ascii_is_somebody_elses() -> None:
    with pytest.raises(Refusal) as refusal:
        Identity.user("\N{KELVIN SIGN}ay@x.org")
    assert refusal.value.code is Code.BAD_INPUT


def test_a_reason_shows_foreign_text_escaped_and_short() -> None:
    with pytest.raises(Refusal) as refusal:
        Identity.parse("\x1b[31m" + "x" * 1000)
    assert "\x1b" not in refusal.value.reason
    assert len(refusal.value.reason) < 200


@given(st.text() | st.from_regex(r"spiffe://planet-lab/(user|node)/[a-z@.%/-]{0,20}"))
@example("spiffe://planet-lab/user/a@b")
def test_parsing_refuses_or_returns_the_very_same_text(text: str) -> None:
    with contextlib.suppress(Refusal):
        assert Identity.parse(text).uri == text
