"""What `svm` is set to, and where each value comes from (`svm config show`)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from svm.home import Home
from trust.errors import Refusal


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and its source, in words."""

    name: str
    value: str | None
    source: str


def settings(environment: Mapping[str, str]) -> list[Setting]:
    """Every setting as it counts now; looks at files only."""
    home = Home.find()
    keys = _configured(home)

    def of(name: str, value: object, variable: str, key: str, default: str) -> Setting:
        source = f"${variable}" if environment.get(variable) else "config.toml" if key in keys else default
        return Setting(name, None if value is None else str(value), source)

    return [
        of("directory", home.directory, "PLANETLAB_HOME", "", "default"),
        of("plc", home.plc_url, "DSLICE_PLC_URL", "plc", "not set"),
        of("svmd", home.svmd_url, "DSLICE_SVMD_URL", "svmd", "plc's directory says it"),
        of("ca file", home.ca_file, "DSLICE_CA_FILE", "ca_file", "pinned by plkeygen"),
        of("fingerprint", home.ca_fingerprint, "DSLICE_CA_FINGERPRINT", "ca_fingerprint", "pinned by plkeygen"),
        Setting("mcp", _listed(keys.get("mcp")), "config.toml" if "mcp" in keys else "an assistant may read only"),
        *_who(home),
    ]


def _listed(value: object) -> str | None:
    return " ".join(map(str, value)) if isinstance(value, list) else None


def _configured(home: Home) -> Mapping[str, object]:
    try:
        return tomllib.loads((home.directory / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _who(home: Home) -> list[Setting]:
    path = home.directory / "cert.pem"
    try:
        certificate = home.credentials.certificate
        who = home.credentials.identity.name
    except Refusal as refusal:
        return [Setting("identity", None, refusal.reason if path.exists() else "no certificate yet; run plkeygen")]
    end = f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    return [Setting("identity", who, path.name), Setting("valid until", end, path.name)]
