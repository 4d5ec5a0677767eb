"""svmd's settings."""

from pathlib import Path

from pydantic import Field

from rpc.settings import DatabaseUrl, HostPort, HostPortOrNone, HttpsUrlOrNone, MemberSettings, Networks


class Settings(MemberSettings):
    """What one svmd is told.

    Args:
        state_dir: its folder (0700): key, certificate, plc's root; workers read the same one.
        database_url: SQLAlchemy's, role and schema `svm`.
        name: its name, `[a-z0-9.-]`; users delegate to `spiffe://planet-lab/svm/<name>`.
        listen: host:port; port 0 takes a free one.
        url: where users reach it; empty: as `listen`.
        slice_key_file: as the workers' (`workers.settings`); it seals hooks' secrets and marks links.
        links_listen: host:port of the page that links in letters open, without a client certificate; empty: none.
        hooks_allow: networks that webhooks may go to although they are not public, comma separated.
        role_silence: seconds without a sign of beat or of any worker after which `svm doctor` calls it dead; they show
            one each `DSLICE_CANARY_SECONDS`.
    """

    database_url: DatabaseUrl
    name: str = "svm"
    listen: HostPort = "127.0.0.1:7445"
    url: HttpsUrlOrNone = Field(default="", validation_alias="DSLICE_SVMD_URL")

    slice_key_file: Path | None = None
    links_listen: HostPortOrNone = ""
    hooks_allow: Networks = ""
    role_silence: int = Field(default=300, ge=1, validation_alias="DSLICE_ROLE_SILENCE_SECONDS")
