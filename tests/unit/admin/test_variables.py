"""A misspelt DSLICE_ variable is named; every one that something reads is known."""

from pathlib import Path

import agent.settings
import nodemgr.settings
import plc.settings
import svm.service.settings
import workers.settings
from admin.variables import KNOWN, misspelt

SETTINGS = (
    plc.settings.Settings,
    agent.settings.Settings,
    svm.service.settings.Settings,
    workers.settings.Settings,
    nodemgr.settings.Settings,
    nodemgr.settings.SimulationSettings,
)
OTHERS = {
    *("DSLICE_CONFIG", "DSLICE_HOME", "DSLICE_CLOCK_OFFSET", "DSLICE_PODMAN_URL", "DSLICE_KEEPER", "DSLICE_MAILBOX"),
    *("DSLICE_SVMD_URL", "DSLICE_CA_FILE", "DSLICE_CA_FINGERPRINT", "DSLICE_METRICS_FILE", "DSLICE_METRICS_TOKEN_FILE"),
    *("DSLICE_BACKUP_DATABASE_URL", "DSLICE_BACKUP_FOLDERS", "DSLICE_BACKUP_PROGRAMS"),
}


def test_every_setting_is_known() -> None:
    assert {kind.variable(name) for kind in SETTINGS for name in kind.model_fields} | OTHERS == KNOWN


def test_what_nothing_reads_is_named(tmp_path: Path) -> None:
    (tmp_path / "plc.toml").write_text('listen = "x"\ndslice_url = "y"\nlog_lvel = "z"\n')
    environment = {
        "DSLICE_LISTN": "",
        "DSLICE_LISTEN": "",
        "DSLICE_TEST_RUN": "",
        "DSLICE_XYZZY": "",
        "HOME": "",
        "DSLICE_CONFIG": str(tmp_path / "plc.toml"),
    }
    assert list(misspelt(environment)) == [
        "nothing reads DSLICE_LISTN: is DSLICE_LISTEN meant?",
        "nothing reads DSLICE_XYZZY: take it away",
        "nothing reads DSLICE_URL: is DSLICE_PLC_URL meant?",
        "nothing reads DSLICE_LOG_LVEL: is DSLICE_LOG_LEVEL meant?",
    ]


def test_a_file_that_cannot_be_read_is_the_daemons_to_name(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("a = [")
    for name in ("bad.toml", "absent.toml"):
        assert list(misspelt({"DSLICE_CONFIG": str(tmp_path / name)})) == []
