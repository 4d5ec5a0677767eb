"""What every daemon is told, and what is said when that is wrong."""

from pathlib import Path

import pytest

from rpc.settings import DaemonSettings, HostPort, HostPortOrNone, MailServer, MemberSettings, split_host_port
from trust.errors import Code, Refusal


class Listening(DaemonSettings):
    listen: HostPort
    door: HostPortOrNone = ""
    relay: MailServer = ""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSLICE_CONFIG", raising=False)
    monkeypatch.setenv("DSLICE_LISTEN", "127.0.0.1:7")


def refusal() -> str:
    with pytest.raises(Refusal) as caught:
        Listening.load()
    assert caught.value.code is Code.BAD_INPUT
    return caught.value.reason


@pytest.mark.parametrize("text", ["7445", ":7445", "127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1:-1", ""])
def test_an_address_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSLICE_LISTEN", text)
    assert refusal() == f"setting DSLICE_LISTEN: {text!r} is not host:port"


def test_addresses() -> None:
    assert split_host_port("[::1]:7") == ("::1", 7)
    assert split_host_port("node.example:0") == ("node.example", 0)
    assert (Listening.load().listen, Listening.load().door) == ("127.0.0.1:7", "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DOOR", "x", "'x' is not host:port"),
        ("RELAY", "http://x", "'http://x' is not smtp://"),
        ("LOG_LEVEL", "LOUD", "Input should be 'DEBUG', 'INFO'"),
    ],
)
def test_the_wrong_setting_is_named(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DSLICE_{name}", value)
    assert refusal().startswith(f"setting DSLICE_{name}: {said}")


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSLICE_LISTEN")
    assert refusal() == "DSLICE_LISTEN is not set: docs/operating.md, Settings, says what to give"


def test_a_file_stands_behind_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "daemon.toml"
    path.write_text('listen = "[::1]:1"\nlog_level = "DEBUG"\n')
    monkeypatch.setenv("DSLICE_CONFIG", str(path))
    assert (Listening.load().listen, Listening.load().log_level) == ("127.0.0.1:7", "DEBUG")


def test_a_file_that_is_missing_or_makes_no_sense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "daemon.toml"
    monkeypatch.setenv("DSLICE_CONFIG", str(path))
    assert refusal() == f"DSLICE_CONFIG names {path}, which is not there"
    path.write_text("listen = ")
    assert refusal().startswith(f"cannot read {path}: ")


def test_the_token_from_a_file_that_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    for name, value in {"STATE_DIR": str(tmp_path), "PLC_URL": "https://plc", "ENROLL_TOKEN_FILE": str(path)}.items():
        monkeypatch.setenv(f"DSLICE_{name}", value)
    assert MemberSettings.load().token is None
    path.write_text("dslice-svm-x\n")
    assert MemberSettings.load().token == "dslice-svm-x"
    monkeypatch.setenv("DSLICE_ENROLL_TOKEN", "dslice-svm-y")
    assert MemberSettings.load().token == "dslice-svm-y"


def test_a_file_is_traced_to_its_setting(tmp_path: Path) -> None:
    """What cannot be used is said with the variable that names it, not with one whose change cures nothing."""
    told = MemberSettings(
        state_dir=tmp_path, plc_url="https://plc.example:7443", enroll_token_file=tmp_path / "own/token"
    )
    assert told.variable_of(str(tmp_path / "key.pem")) == "DSLICE_STATE_DIR"
    assert told.variable_of(str(tmp_path / "own/token")) == "DSLICE_ENROLL_TOKEN_FILE"
    assert told.variable_of("/sys/block") is None
