"""What daemons are told: environment (`DSLICE_*`), then the TOML file that `DSLICE_CONFIG` names, then defaults."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from rpc.smtp import check_url
from trust.errors import Code, Refusal


def split_host_port(text: str) -> tuple[str, int]:
    """(host, port) of "host:port" or "[v6]:port"; port 0: any that is free. ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


def _host_port(text: str) -> str:
    split_host_port(text)
    return text


HostPort = Annotated[str, AfterValidator(_host_port)]
HostPortOrNone = Annotated[str, AfterValidator(lambda text: text and _host_port(text))]
MailServer = Annotated[str, AfterValidator(lambda url: url and check_url(url))]


class DaemonSettings(BaseSettings):
    """What every daemon is told.

    Args:
        log_level: as Python's logging names it.
        metrics_listen: "host:port" on loopback for Prometheus; empty: none.
        metrics_token: what Prometheus must show there (`authorization`), for others share the loopback: slivers do.
    """

    model_config = SettingsConfigDict(env_prefix="DSLICE_", frozen=True, extra="ignore", populate_by_name=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_listen: str = ""
    metrics_token: SecretStr = SecretStr("")

    @classmethod
    def load(cls) -> Self:
        """From environment and file; Refusal(BAD_INPUT) names the setting that is wrong or missing."""
        path = os.environ.get("DSLICE_CONFIG")
        if path and not Path(path).is_file():
            raise Refusal(Code.BAD_INPUT, f"DSLICE_CONFIG names {path}, which is not there")
        try:
            return cls()
        except ValidationError as error:
            raise Refusal(Code.BAD_INPUT, _said(error)) from error
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
        """pydantic's hook: which sources there are, the first one wins."""
        del dotenv_settings, file_secret_settings
        path = os.environ.get("DSLICE_CONFIG")
        if not path:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)


class MemberSettings(DaemonSettings):
    """What a service with a certificate of plc's is told: agent, svmd, node manager.

    Args:
        state_dir: its folder (0700): key, certificate, plc's root.
        plc_url: where plc answers.
        enroll_token, enroll_token_file: the way in when there is no certificate yet.
    """

    state_dir: Path
    plc_url: str
    enroll_token: SecretStr | None = None
    enroll_token_file: Path | None = None

    @property
    def token(self) -> str | None:
        """The enrolment token, from the variable or the file (which may be gone after its one use)."""
        if self.enroll_token is not None:
            return self.enroll_token.get_secret_value()
        if self.enroll_token_file is not None and self.enroll_token_file.is_file():
            return self.enroll_token_file.read_text().strip()
        return None


def _said(error: ValidationError) -> str:
    """The first thing that is wrong, with the variable's name and without the value, which may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return said
    return f"setting DSLICE_{str(first['loc'][0]).upper().removeprefix('DSLICE_')}: {said}"
