"""A node manager's settings: environment (`DSLICE_*`), then the TOML file named by `DSLICE_CONFIG`, then defaults."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from nodemgr.admission import Capacity
from trust.documents import MAX_LEASELEN
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

DriverName = Literal["auto", "bubblewrap", "unshare", "podman", "simulated"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class CommonSettings(BaseSettings):
    """What real and simulated nodes are told alike.

    Args:
        state_dir: the folder (0700) of keys, certificates and stores.
        plc_url: where plc answers.
        agents: names of the agents whose tickets count here, separated by commas; `NAME=URL` where plc's directory
            should not be asked for the URL.
        slots: slivers at once. memory_mb: memory for all of them, MiB; sliver_mb of it for each.
        processes: most processes of one sliver.
        longest: longest lease, seconds.
        grace: seconds that a sliver outlives its lease.
        advertise_seconds, neighbours_seconds, expiry_seconds, stops_seconds: between two rounds of each.
        log_level: as Python's logging names it.
    """

    model_config = SettingsConfigDict(env_prefix="DSLICE_", frozen=True, extra="ignore", populate_by_name=True)

    state_dir: Path
    plc_url: str
    agents: str = "agent"
    slots: Annotated[int, Field(ge=0, le=100_000)] = 16
    memory_mb: Annotated[int, Field(ge=0)] = 16_384
    sliver_mb: Annotated[int, Field(ge=1)] = 256
    processes: Annotated[int, Field(ge=1)] = Field(default=256, validation_alias="DSLICE_SLIVER_PROCESSES")
    longest: Annotated[int, Field(ge=1, le=MAX_LEASELEN)] = Field(
        default=MAX_LEASELEN, validation_alias="DSLICE_MAX_LEASELEN"
    )
    grace: Annotated[int, Field(ge=0, le=86_400)] = 60
    advertise_seconds: Seconds = 20
    neighbours_seconds: Seconds = 60
    expiry_seconds: Seconds = 1
    stops_seconds: Seconds = 20
    log_level: str = "INFO"

    @classmethod
    def load(cls) -> Self:
        """From environment and file; Refusal(BAD_INPUT) names the setting that is wrong or missing."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = "_".join(str(part) for part in first["loc"][:1]).upper().removeprefix("DSLICE_")
            raise Refusal(Code.BAD_INPUT, f"setting {f'DSLICE_{name}: ' if name else ''}{first['msg']}") from error
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

    @property
    def agent_urls(self) -> dict[Identity, str | None]:
        """Each agent with its URL, None where plc's directory knows it."""
        entries = [entry.strip().partition("=") for entry in self.agents.split(",") if entry.strip()]
        return {Identity(Role.AGENT, name): url or None for name, _, url in entries}

    @property
    def capacity(self) -> Capacity:
        return Capacity(self.slots, self.memory_mb, self.sliver_mb, self.processes, self.longest)


class Settings(CommonSettings):
    """What one real node is told.

    Args:
        name: as in its certificate.
        node_address: the IP address that users see; it stands in the certificate.
        node_site: where it stands; agents spread slices over sites.
        listen: host:port of the node manager; empty: a free port at the node's address.
        frontdoor: host:port of SSH; empty: port 22 at the node's address.
        sliver_driver: how slivers are made.
        enroll_token, enroll_token_file: the way in when there is no certificate yet.
        metrics_listen: "host:port" on loopback for Prometheus; empty: none.
    """

    name: str
    node_address: str
    node_site: Annotated[str, Field(pattern=r"^[ -~]{1,64}$")] = "unknown"
    listen: str = ""
    frontdoor: str = ""
    sliver_driver: DriverName = "auto"
    enroll_token: SecretStr | None = None
    enroll_token_file: Path | None = None
    metrics_listen: str = ""

    @field_validator("listen", "frontdoor")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if value and (not colon or not host or not port.isdecimal() or int(port) > 65_535):
            raise ValueError(f"{value!r} is not host:port")
        return value

    @property
    def api_place(self) -> tuple[str, int]:
        """(host, port) to listen at."""
        return _place(self.listen, self.node_address, 0)

    @property
    def frontdoor_place(self) -> tuple[str, int]:
        """(host, port) of the front door."""
        return _place(self.frontdoor, self.node_address, 22)

    @property
    def token(self) -> str | None:
        """The enrolment token, from the variable or the file (which may be gone after its one use)."""
        if self.enroll_token is not None:
            return self.enroll_token.get_secret_value()
        if self.enroll_token_file is not None and self.enroll_token_file.is_file():
            return self.enroll_token_file.read_text().strip()
        return None


class SimulationSettings(CommonSettings):
    """What one process of simulated nodes is told.

    Args:
        simulated_nodes: JSON, a list of `{"name", "address", "site", "token", "port", "slots"}`, the last three may be
            missing; each node keeps what it knows in `state_dir/NAME/`.
        simulated_latency_ms: that each call takes.
        control_socket: unix socket for `dslice fault`; empty: none.
    """

    simulated_nodes: Path
    simulated_latency_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    control_socket: str = ""
    slots: Annotated[int, Field(ge=0, le=100_000)] = 64


def _place(text: str, host: str, port: int) -> tuple[str, int]:
    if not text:
        return host, port
    found, _, number = text.rpartition(":")
    return found.strip("[]"), int(number)
