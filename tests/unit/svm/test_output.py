"""Lines to the letter, JSON lines, the summary, and what to type next."""

import io
import json
import os
from datetime import UTC, datetime, timedelta

import click
import pytest

from svm.columns import left
from svm.exit_codes import status_of_nodes, status_of_refusal
from svm.flags import Flags
from svm.following import progress
from svm.output import Report, colourful, refused
from svm.results import NodeResult, summary_line
from svm.retry import lower_commands, same_again, whole_slice
from trust.errors import Code, Refusal, printable

OK = NodeResult("12.155.161.147", True)
DOWN = NodeResult("12.155.161.148", False, "unreachable", "no answer", "newleases")
FULL = NodeResult("12.155.161.149", False, "over-capacity", "no slot", "newvms")


def test_the_howtos_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=False)
    report.node(OK)
    report.node(DOWN)
    assert report.summary("1") == 3
    out, err = capsys.readouterr()
    assert out == "Success on 12.155.161.147\nError on 12.155.161.148: no answer\n"
    assert err == "1 ok · 1 failed: 1 unreachable\n"


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=True, retry=lambda _: ["never shown"])
    report.node(OK)
    report.node(DOWN)
    report.summary("op")
    out, err = capsys.readouterr()
    assert [json.loads(text) for text in out.splitlines()] == [
        {"type": "node", "node": "12.155.161.147", "ok": True, "code": None, "reason": None},
        {"type": "node", "node": "12.155.161.148", "ok": False, "code": "unreachable", "reason": "no answer"},
        {"type": "summary", "operation": "op", "ok": 1, "failed": 1, "exit": 3},
    ]
    assert err == ""


def test_failures_are_grouped_by_cause_the_commonest_first() -> None:
    found = [OK] * 61 + [FULL, DOWN, DOWN]
    assert summary_line(found) == "61 ok · 3 failed: 2 unreachable, 1 over capacity"
    assert summary_line([OK]) == "1 ok"


def test_a_replaced_node_is_no_failure() -> None:
    report = Report(as_json=True)
    report.node(OK)
    report.node(NodeResult("1.2.3.4", False, "unreachable", "gone", replaced=True))
    assert (report.ok, report.failed) == (1, 0)
    assert summary_line(report.results) == "1 ok · 1 replaced: 1 unreachable"


def test_a_nodes_text_cannot_play_with_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=False)
    report.node(NodeResult("1.2.3.4", False, "internal", "a\x1b[2J\nSuccess on 5.6.7.8\x07" + "x" * 300))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert len(out) < 250
    assert printable("a\tb\u202ec") == "a b c"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_status_line_is_drawn_when_it_changes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    report = Report(as_json=False)
    for text in ("1 of 3 nodes", "1 of 3 nodes", "2 of 3 nodes"):
        report.progress(text)
    report.pause()
    report.pause()
    assert terminal.getvalue() == "\r\x1b[K1 of 3 nodes\r\x1b[K2 of 3 nodes\r\x1b[K"


def test_no_status_line_beside_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `svm renewslice S | tee log` prints comes from another process, whenever that likes."""
    terminal = Terminal()
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w") as pipe:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr("sys.stdout", pipe)
        Report(as_json=False).progress("1 of 3 nodes")
    assert terminal.getvalue() == ""


def test_a_failure_without_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    Report(as_json=False).node(NodeResult("1.2.3.4", False))
    assert capsys.readouterr().out == "Error on 1.2.3.4: failed without a reason\n"


def test_refused_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=False)
    assert report.summary("op", Refusal(Code.TOO_FEW_NODES, "3 asked for, 2 there"), 1) == 1
    assert capsys.readouterr() == ("", "svm: 3 asked for, 2 there\n")


def test_refused_in_json_ends_with_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    refused(Refusal(Code.BUSY, "wait", operation="abc"), 1, as_json=True)
    error, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert error == {"type": "error", "code": "busy", "reason": "wait", "operation": "abc"}
    assert summary == {"type": "summary", "operation": "abc", "ok": 0, "failed": 0, "exit": 1}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.BAD_INPUT, 2),
        (Code.NOT_FOUND, 1),
        (Code.BUSY, 1),
        (Code.NAME_TAKEN, 1),
        (Code.TOO_FEW_NODES, 1),
        (Code.CRL_STALE, 1),
        (Code.INTERNAL, 1),
        (Code.NOT_OWNER, 4),
        (Code.NOT_ALLOWED, 4),
        (Code.NOT_AUTHENTICATED, 4),
        (Code.REVOKED, 4),
        (Code.UNREACHABLE, 5),
        (Code.TIMEOUT, 5),
        (Code.WRONG_CERTIFICATE, 5),
    ],
)
def test_exit_status_of_each_code(code: Code, status: int) -> None:
    assert status_of_refusal(code) == status


def test_exit_status_of_nodes() -> None:
    assert (status_of_nodes(3, 0), status_of_nodes(0, 3), status_of_nodes(2, 1), status_of_nodes(0, 0)) == (0, 1, 3, 0)


def test_the_retry_commands_of_a_half_made_slice() -> None:
    flags = Flags(parallelism=32)
    assert whole_slice("a slice.xml", "demo", [DOWN, FULL], flags) == [
        "Try again with:",
        "  svm -p 32 newleases demo 12.155.161.148",
        "  svm -p 32 newvms demo 12.155.161.148 12.155.161.149",
        "Or take other nodes in their place:",
        "  svm -p 32 createslice --replace 'a slice.xml'",
    ]


def test_nodes_that_wait_for_nothing_need_createslice_again() -> None:
    failures = [NodeResult("1.2.3.4", False, "too-few-nodes", "no other node", "replace")]
    assert whole_slice("f.xml", "demo", failures, Flags()) == [
        "Take other nodes in their place:",
        "  svm createslice --replace f.xml",
    ]


def test_keys_that_did_not_arrive() -> None:
    lines = whole_slice("f.xml", "demo", [NodeResult("1.2.3.4", False, "timeout", "slow", "addkey")], Flags())
    assert lines == ["1 running without their keys, which are sent again in a while; or use svm addkey"]


def test_only_vms_failed() -> None:
    assert lower_commands("demo", [FULL], Flags()) == ["Try again with:", "  svm newvms demo 12.155.161.149"]


def test_of_many_nodes_the_command_takes_all_that_wait() -> None:
    failures = [NodeResult(f"10.0.0.{n}", False, step="newvms") for n in range(17)]
    assert lower_commands("demo", failures, Flags())[1] == "  svm newvms demo"


def test_the_same_command_again_as_it_was_typed() -> None:
    assert same_again(Flags(argv=("-p", "4", "addkey", "demo", "my key.pub"))) == [
        "Try again with: svm -p 4 addkey demo 'my key.pub'"
    ]


def test_retry_is_shown_after_failures_only(capsys: pytest.CaptureFixture[str]) -> None:
    for results, shown in (([OK], ""), ([OK, DOWN], "again 1\n")):
        report = Report(as_json=False, retry=lambda failures: [f"again {len(failures)}"])
        for result in results:
            report.node(result)
        report.summary("op")
        assert capsys.readouterr().err.endswith(shown or "ok\n")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_terminals_that_want_no_colours(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colourful()
    monkeypatch.setenv(name, value)
    assert not colourful()


def test_a_dumb_terminal_has_no_status_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stderr", terminal)
    Report(as_json=False).progress("1 of 3 nodes")
    assert terminal.getvalue() == ""


def test_progress_without_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = 0.0
    monkeypatch.setattr("svm.output.monotonic", lambda: at)
    report = Report(as_json=False, verbose=True)
    for at in (1.0, 10.0, 11.0, 19.9, 20.0):
        report.progress(f"at {at}")
    assert capsys.readouterr() == ("", "at 10.0\nat 20.0\n")
    Report(as_json=False).progress("never")
    assert capsys.readouterr().err == ""


def test_old_and_new_end_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    Report(as_json=True).node(NodeResult("1.2.3.4", True, ends=(None, "2030-01-01T00:00:00+00:00")))
    assert json.loads(capsys.readouterr().out) == {
        "type": "node",
        "node": "1.2.3.4",
        "ok": True,
        "code": None,
        "reason": None,
        "old": None,
        "new": "2030-01-01T00:00:00+00:00",
    }


def test_how_far_it_is() -> None:
    report = Report(as_json=True)
    assert progress(report, 8, 5) == "[                ] 0 of 8 nodes"
    report.results += [OK, OK]
    assert progress(report, 8, 1.9) == "[####            ] 2 of 8 nodes"
    assert progress(report, 8, 4) == "[####            ] 2 of 8 nodes · 0.5/s · 12 s left"
    report.results.append(DOWN)
    assert progress(report, 2, 3) == "[################] 3 of 3 nodes · 1.0/s · 0 s left · 1 failed"


@pytest.mark.parametrize(
    ("seconds", "leaselen", "shown", "red"),
    [
        (13 * 86_400, 14 * 86_400, "13 d 0 h", False),
        (86_399, 14 * 86_400, "23 h 59 min", True),
        (3_599, 3_600, "59 min 59 s", False),
        (719, 3_600, "11 min 59 s", True),
        (0, 3_600, "over", True),
    ],
)
def test_the_time_left_is_red_when_it_is_little(seconds: int, leaselen: int, shown: str, red: bool) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    found = left(now + timedelta(seconds=seconds), now, leaselen)
    assert click.unstyle(found) == shown
    assert (found != shown) is red
