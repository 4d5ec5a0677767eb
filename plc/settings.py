"""plc's settings: environment (`DSLICE_*`), else the TOML file that `DSLICE_CONFIG` names, else these defaults."""

import os
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from rpc.smtp import check_url
from trust.errors import Code, Refusal


class Settings(BaseSettings):
    """What one plc is told.

    Args:
        state_dir: its folder (0700): the CA's key, its own key and certificate. Back it up; the database has neither.
        database_url: SQLAlchemy's, role and schema `plc`.
        listen: host:port; port 0 takes a free one.
        url: where others reach it (`https://plc.example:7443`), if not at `listen`; stands in plc's certificate.
        smtp_url: the mail server, as in `rpc.smtp`; empty keeps letters in the outbox.
        ca_operator: e-mail of whoever approves certificate requests; letters come from there.
        open: everyone with an account may change slices, not only PIs (`DSLICE_PLC_OPEN`).
        directory_file: JSON `{"svmd": URL, "svm": NAME, "agents": [{"name", "url"}]}`, else what services announce.
        user_lifetime: seconds that a user's certificate lives, 90 days at most.
        service_lifetime: seconds that a service's certificate lives.
        names_per_user: slice names that one account may hold at once.
        log_level: as Python's logging names it.
    """

    model_config = SettingsConfigDict(env_prefix="DSLICE_", frozen=True, extra="ignore", populate_by_name=True)

    state_dir: Path
    database_url: str
    listen: str = "127.0.0.1:7443"
    url: str = Field(default="", validation_alias="DSLICE_PLC_URL")
    smtp_url: str = ""
    ca_operator: str = "operator@localhost"
    open: bool = Field(default=False, validation_alias="DSLICE_PLC_OPEN")
    directory_file: Path | None = None
    user_lifetime: Annotated[int, Field(ge=60, le=90 * 86_400)] = 90 * 86_400
    service_lifetime: Annotated[int, Field(ge=60, le=90 * 86_400)] = 86_400
    names_per_user: Annotated[int, Field(ge=1)] = 50
    log_level: str = "INFO"

    @classmethod
    def load(cls) -> Self:
        """From environment and file; Refusal(BAD_INPUT) names the setting that is wrong or missing."""
        path = os.environ.get("DSLICE_CONFIG")
        if path and not Path(path).is_file():
            raise Refusal(Code.BAD_INPUT, f"DSLICE_CONFIG names {path}, which is not there")
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = "".join(str(part) for part in first["loc"][:1]).upper().removeprefix("DSLICE_")
            said = first["msg"].removeprefix("Value error, ")
            raise Refusal(Code.BAD_INPUT, f"setting DSLICE_{name}: {said}" if name else said) from error
        except (OSError, ValueError) as error:
            raise Refusal(Code.BAD_INPUT, f"cannot read {path}: {error}") from error

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

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: str) -> str:
        return check_url(value) if value else value

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if not self.addresses:
            raise ValueError(f"set DSLICE_PLC_URL: {self.listen} says nothing of where others reach plc")
        return self

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def addresses(self) -> tuple[str, ...]:
        """Hosts that stand in plc's own certificate: where it listens and where others reach it."""
        reached = urlsplit(self.url).hostname
        found = dict.fromkeys(host for host in (self.host, reached) if host and host not in ("0.0.0.0", "::"))  # noqa: S104
        return tuple(found)
