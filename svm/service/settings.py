"""svmd's settings: environment (`DSLICE_*`), then the TOML file named by `DSLICE_CONFIG`, then these defaults."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from trust.errors import Code, Refusal


class Settings(BaseSettings):
    """What one svmd is told.

    Args:
        state_dir: its folder (0700): key, certificate, plc's root; workers read the same one.
        database_url: SQLAlchemy's, role and schema `svm`.
        plc_url: where plc answers.
        name: its name, `[a-z0-9.-]`; users delegate to `spiffe://planet-lab/svm/<name>`.
        listen: host:port; port 0 takes a free one.
        url: where users reach it; empty: as `listen`.
        enroll_token, enroll_token_file: the way in when there is no certificate yet.
        log_level: as Python's logging names it.
        metrics_listen: "host:port" on loopback for Prometheus; empty: none.
    """

    model_config = SettingsConfigDict(env_prefix="DSLICE_", frozen=True, extra="ignore")

    state_dir: Path
    database_url: SecretStr
    plc_url: str
    name: str = "svm"
    listen: str = "127.0.0.1:7445"
    url: str = Field(default="", validation_alias="DSLICE_SVMD_URL")
    enroll_token: SecretStr | None = None
    enroll_token_file: Path | None = None
    log_level: str = "INFO"
    metrics_listen: str = ""

    @classmethod
    def load(cls) -> Self:
        """From environment and file; Refusal(BAD_INPUT) names the setting that is wrong or missing."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0]).upper().removeprefix("DSLICE_")
            raise Refusal(Code.BAD_INPUT, f"setting DSLICE_{name}: {first['msg']}; correct it") from error
        except (OSError, ValueError) as error:
            raise Refusal(Code.BAD_INPUT, f"cannot read {os.environ.get('DSLICE_CONFIG')}: {error}") from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        path = os.environ.get("DSLICE_CONFIG")
        if not path:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65_535:
            raise ValueError(f"{value!r} is not host:port")
        return value

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def token(self) -> str | None:
        """The enrolment token, from the variable or the file (which may be gone after its one use)."""
        if self.enroll_token is not None:
            return self.enroll_token.get_secret_value()
        if self.enroll_token_file is not None and self.enroll_token_file.is_file():
            return self.enroll_token_file.read_text().strip()
        return None
