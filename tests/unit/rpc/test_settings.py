"""What every daemon is told, and what is said when that is wrong."""

from pathlib import Path

import pytest

from agent import settings as agent
from nodemgr import settings as nodes
from plc import settings as plc
from rpc.settings import DaemonSettings, HostPort, HostPortOrNone, MailServer, MemberSettings, split_host_port
from svm.service import settings as svmd
from trust.errors import Code, Refusal
from workers import settings as workers

SETTINGS = [agent.Settings, nodes.Settings, plc.Settings, svmd.Settings, workers.Settings]
# What has a variable that is not called as its field, and what those settings cannot do without.
GIVEN = {
    "state_dir": "/nowhere",
    "database_url": "postgresql://x@127.0.0.1/x",
    "broker_url": "redis://127.0.0.1:1/0",
    "plc_url": "https://plc.example:7443",
    "url": "https://lab.example:1",
    "name": "n1",
    "node_address": "192.0.2.1",
    "queues": "renewals",
    **dict.fromkeys(("processes", "max_leaselen", "role_silence", "threads", "reserved", "claim_slack", "sweep"), 61),
    **dict.fromkeys(("autorenew", "deliver", "clean", "notify", "reconcile", "canary", "publish_again"), 62),
    **dict.fromkeys(("silent", "stuck"), 63),
}


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


@pytest.mark.parametrize("role", SETTINGS, ids=lambda role: role.__module__)
def test_a_file_may_say_whatever_the_environment_may(
    role: type[DaemonSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the variable's name, in lower case and without DSLICE_; the environment's word counts before it."""
    told = {role.variable(name): str(value) for name, value in GIVEN.items() if name in role.model_fields}
    path = tmp_path / "daemon.toml"
    path.write_text("".join(f'{name.removeprefix("DSLICE_").lower()} = "{value}"\n' for name, value in told.items()))
    monkeypatch.delenv("DSLICE_LISTEN")
    monkeypatch.setenv("DSLICE_CONFIG", str(path))
    found = role.load()
    assert {role.variable(name) for name in found.model_fields_set} == told.keys()
    for name, value in told.items():
        monkeypatch.setenv(name, f"{value}1" if value.isdecimal() else value)
    assert set(_numbers(role.load())) == {int(f"{value}1") for value in _numbers(found)}


def _numbers(settings: DaemonSettings) -> list[int]:
    """Of the fields that were given and are numbers."""
    given = (getattr(settings, name) for name in settings.model_fields_set)
    return [value for value in given if isinstance(value, int) and not isinstance(value, bool)]


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
