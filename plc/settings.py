"""plc's settings."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from rpc.settings import DaemonSettings, DatabaseUrl, HostPort, HttpsUrlOrNone, MailServer, split_host_port


class Settings(DaemonSettings):
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
        history_days: days after which ended certificates, their requests, letters and events are forgotten.
    """

    state_dir: Path
    database_url: DatabaseUrl
    listen: HostPort = "127.0.0.1:7443"
    url: HttpsUrlOrNone = Field(default="", validation_alias="DSLICE_PLC_URL")
    smtp_url: MailServer = ""
    ca_operator: str = "operator@localhost"
    open: bool = Field(default=False, validation_alias="DSLICE_PLC_OPEN")
    directory_file: Path | None = None
    user_lifetime: Annotated[int, Field(ge=60, le=90 * 86_400)] = 90 * 86_400
    service_lifetime: Annotated[int, Field(ge=60, le=90 * 86_400)] = 86_400
    names_per_user: Annotated[int, Field(ge=1)] = 50
    # A reminder is known by its event, for as long as the certificate lives.
    history_days: Annotated[int, Field(ge=100)] = 365

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if not self.addresses:
            raise ValueError(f"set DSLICE_PLC_URL: {self.listen} says nothing of where others reach plc")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """Hosts that stand in plc's own certificate: where it listens and where others reach it."""
        hosts = split_host_port(self.listen)[0], urlsplit(self.url).hostname
        return tuple(dict.fromkeys(host for host in hosts if host and host not in ("0.0.0.0", "::")))  # noqa: S104
