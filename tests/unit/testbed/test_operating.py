"""docs/operating.md names every setting, with its default."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import agent.settings
import nodemgr.settings
import plc.settings
import svm.service.settings
import workers.settings
from rpc.settings import DaemonSettings, MemberSettings

TEXT = (Path(__file__).parents[3] / "docs" / "operating.md").read_text()
TABLES: dict[str, type[DaemonSettings]] = {
    "plc": plc.settings.Settings,
    "agent": agent.settings.Settings,
    "svmd": svm.service.settings.Settings,
    "worker, beat, flower": workers.settings.Settings,
    "nodemgr": nodemgr.settings.Settings,
}


def variables(settings: type[DaemonSettings]) -> dict[str, Any]:
    """Variable to default."""
    found = {}
    for name, field in settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        found[str(field.validation_alias or f"DSLICE_{name.upper()}")] = None if field.is_required() else default
    return found


def table(role: str) -> str:
    return TEXT.partition(f"| {role} | default |")[2].partition("\n\n")[0]


@pytest.mark.parametrize("role", TABLES)
def test_every_setting_stands_in_its_table(role: str) -> None:
    base = MemberSettings if issubclass(TABLES[role], MemberSettings) else DaemonSettings
    wanted = variables(TABLES[role]).keys() - variables(base).keys()
    assert set(re.findall(r"DSLICE_\w+", table(role))) == wanted


@pytest.mark.parametrize("role", TABLES)
def test_defaults_are_as_written(role: str) -> None:
    actual = variables(TABLES[role])
    for names, written in re.findall(r"^\| (`DSLICE_[^|]*) \| ([^|]*) \|", table(role), re.MULTILINE):
        for name, text in zip(re.findall(r"DSLICE_\w+", names), written.split(", "), strict=False):
            if isinstance(actual[name], int) and not isinstance(actual[name], bool):
                assert text.strip() == str(actual[name]), name
