"""svmd's settings: what is wrong is named in one line."""

from pathlib import Path

import pytest

from svm.service.settings import Settings
from trust.errors import Code, Refusal


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STATE_DIR": "/state", "DATABASE_URL": "postgresql://", "PLC_URL": "https://plc"}.items():
        monkeypatch.setenv(f"DSLICE_{name}", value)


def test_what_is_not_said_has_a_default() -> None:
    settings = Settings.load()
    assert (settings.name, settings.host, settings.port, settings.token) == ("svm", "127.0.0.1", 7445, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LISTEN", "7445"), ("LISTEN", ":7445"), ("LISTEN", "127.0.0.1:x"), ("LISTEN", "127.0.0.1:99999")],
)
def test_an_address_that_is_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DSLICE_{name}", value)
    with pytest.raises(Refusal, match=f"setting DSLICE_{name}: ") as caught:
        Settings.load()
    assert caught.value.code is Code.BAD_INPUT


def test_a_setting_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSLICE_PLC_URL")
    with pytest.raises(Refusal, match="setting DSLICE_PLC_URL: "):
        Settings.load()


def test_a_file_stands_behind_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "svmd.toml"
    path.write_text('name = "filed"\nplc_url = "https://elsewhere"\nlisten = "[::1]:1"\n')
    monkeypatch.setenv("DSLICE_CONFIG", str(path))
    settings = Settings.load()
    assert (settings.name, settings.plc_url, settings.host, settings.port) == ("filed", "https://plc", "::1", 1)


def test_a_file_that_makes_no_sense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "svmd.toml"
    path.write_text("name = ")
    monkeypatch.setenv("DSLICE_CONFIG", str(path))
    with pytest.raises(Refusal, match="cannot read"):
        Settings.load()


def test_the_token_from_a_file_that_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    monkeypatch.setenv("DSLICE_ENROLL_TOKEN_FILE", str(path))
    assert Settings.load().token is None
    path.write_text("dslice-svm-x\n")
    assert Settings.load().token == "dslice-svm-x"
    monkeypatch.setenv("DSLICE_ENROLL_TOKEN", "dslice-svm-y")
    assert Settings.load().token == "dslice-svm-y"
