"""svmd's settings: what is wrong is named in one line."""

from pathlib import Path

import pytest

from svm.service.settings import Settings
from trust.errors import Refusal


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STATE_DIR": "/state", "DATABASE_URL": "postgresql://", "PLC_URL": "https://plc"}.items():
        monkeypatch.setenv(f"DSLICE_{name}", value)


def test_what_is_not_said_has_a_default() -> None:
    settings = Settings.load()
    assert (settings.name, settings.listen, settings.token) == ("svm", "127.0.0.1:7445", None)


def test_a_setting_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSLICE_PLC_URL")
    with pytest.raises(Refusal, match="DSLICE_PLC_URL is not set"):
        Settings.load()


def test_a_file_stands_behind_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "svmd.toml"
    path.write_text('name = "filed"\nplc_url = "https://elsewhere"\nlisten = "[::1]:1"\n')
    monkeypatch.setenv("DSLICE_CONFIG", str(path))
    settings = Settings.load()
    assert (settings.name, settings.plc_url, settings.listen) == ("filed", "https://plc", "[::1]:1")
