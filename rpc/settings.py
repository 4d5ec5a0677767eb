"""What daemons are told: environment (`DSLICE_*`), then the TOML file that `DSLICE_CONFIG` names, then defaults."""

import os
import tomllib
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from rpc.smtp import check_url
from trust.errors import Code, Refusal

Network = IPv4Network | IPv6Network


def split_host_port(text: str) -> tuple[str, int]:
    """(host, port) of "host:port" or "[v6]:port"; port 0: any that is free. ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


def _host_port(text: str) -> str:
    split_host_port(text)
    return text


def _https(url: str) -> str:
    parts = urlsplit(url)  # ValueError for half an IPv6 address
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{url!r} is not https://HOST:PORT")
    split_host_port(f"{parts.hostname}:{parts.port or 443}")
    return url


def _address(text: str) -> str:
    try:
        ip_address(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IP address") from error
    return text


def split_networks(text: str) -> tuple[Network, ...]:
    """Of "10.0.0.0/8,2001:db8::/32"; ValueError names a wrong one."""
    found = []
    for word in filter(None, map(str.strip, text.split(","))):
        try:
            found.append(ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is not a network, as 10.0.0.0/8 is one") from error
    return tuple(found)


def _networks(text: str) -> str:
    split_networks(text)
    return text


def _database(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(DATABASES):
        raise ValueError("not postgresql://ROLE:PASSWORD@HOST/DATABASE")
    return url


def _broker(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(BROKERS):
        raise ValueError("not redis://HOST:PORT/NUMBER")
    return url


# Their values are not said: they have passwords.
DATABASES = ("postgresql://", "postgresql+psycopg://", "postgres://")
BROKERS = ("redis://", "rediss://", "redis+socket://", "sentinel://")

HostPort = Annotated[str, AfterValidator(_host_port)]
HostPortOrNone = Annotated[str, AfterValidator(lambda text: text and _host_port(text))]
MailServer = Annotated[str, AfterValidator(lambda url: url and check_url(url))]
HttpsUrl = Annotated[str, AfterValidator(_https)]
HttpsUrlOrNone = Annotated[str, AfterValidator(lambda url: url and _https(url))]
Networks = Annotated[str, AfterValidator(_networks)]
IpAddress = Annotated[str, AfterValidator(_address)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
DatabaseUrlOrNone = Annotated[SecretStr, AfterValidator(lambda url: _database(url) if url.get_secret_value() else url)]
BrokerUrl = Annotated[SecretStr, AfterValidator(_broker)]


class DaemonSettings(BaseSettings):
    """What every daemon is told.

    Args:
        log_level: as Python's logging names it.
        log_format: JSON lines for machines, or text for people.
        metrics_listen: "host:port" on loopback for Prometheus; empty: none.
        metrics_token: what Prometheus must show there (`authorization`), for others share the loopback: slivers do.
    """

    model_config = SettingsConfigDict(env_prefix="DSLICE_", frozen=True, extra="ignore", populate_by_name=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    metrics_listen: str = ""
    metrics_token: SecretStr = SecretStr("")

    @classmethod
    def load(cls, needs: Sequence[str] = ()) -> Self:
        """From environment and file; Refusal(BAD_INPUT) names what is wrong and all that is missing.

        Args:
            needs: fields that must be set although they have a default.
        """
        path = os.environ.get("DSLICE_CONFIG")
        if path and not Path(path).is_file():
            raise Refusal(Code.BAD_INPUT, f"DSLICE_CONFIG names {path}, which is not there")
        try:
            found = cls()
            missing = [cls.variable(name) for name in needs if name not in found.model_fields_set]
            if missing:
                raise Refusal(Code.BAD_INPUT, _not_set(missing))
            return found
        except ValidationError as error:
            raise Refusal(Code.BAD_INPUT, _said(error)) from error
        except (OSError, ValueError) as error:
            raise Refusal(Code.BAD_INPUT, f"cannot read {path}: {error}") from error

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field."""
        alias = cls.model_fields[field].validation_alias if field in cls.model_fields else None
        return _variable(alias if isinstance(alias, str) else field)

    def variable_of(self, path: str) -> str | None:
        """The environment variable that names this file, or else the nearest folder that it is in."""
        told = {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Path)}
        around = [name for name, value in told.items() if Path(path).is_relative_to(value)]
        return self.variable(max(around, key=lambda name: len(told[name].parts))) if around else None

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
        return init_settings, env_settings, InitSettingsSource(settings_cls, cls._of_file(path))

    @classmethod
    def _of_file(cls, path: str) -> dict[str, Any]:
        """What a TOML file says, under the names that pydantic knows: a field with a variable of its own has that."""
        fields = {cls.variable(name): field.validation_alias or name for name, field in cls.model_fields.items()}
        told = tomllib.loads(Path(path).read_text())
        return {str(fields.get(_variable(name), name)): value for name, value in told.items()}


class MemberSettings(DaemonSettings):
    """What a service with a certificate of plc's is told: agent, svmd, node manager.

    Args:
        state_dir: its folder (0700): key, certificate, plc's root.
        plc_url: where plc answers.
        enroll_token, enroll_token_file: the way in when there is no certificate yet.
    """

    state_dir: Path
    plc_url: HttpsUrl
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
    """What is wrong, with the variables' names and without their values, which may be secrets."""
    faults = error.errors(include_url=False, include_input=False)
    wrong = [fault for fault in faults if fault["type"] != "missing"]
    if not wrong:
        return _not_set([_variable(str(fault["loc"][0])) for fault in faults])
    said = wrong[0]["msg"].removeprefix("Value error, ")
    return f"setting {_variable(str(wrong[0]['loc'][0]))}: {said}" if wrong[0]["loc"] else said


def _variable(place: str) -> str:
    return f"DSLICE_{place.upper().removeprefix('DSLICE_')}"


def _not_set(variables: Sequence[str]) -> str:
    names = " and ".join(filter(None, (", ".join(variables[:-1]), variables[-1])))
    return f"{names} {'is' if len(variables) == 1 else 'are'} not set: docs/operating.md, Settings, says what to give"
