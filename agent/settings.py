"""The agent's settings."""

from typing import Annotated

from pydantic import Field

from rpc.settings import DatabaseUrl, HostPort, HttpsUrlOrNone, MemberSettings


class Settings(MemberSettings):
    """What one agent is told.

    Args:
        state_dir: its folder (0700): key, certificate, plc's root.
        database_url: SQLAlchemy's, role and schema `agent`.
        name: its name, `[a-z0-9.-]`; nodes accept tickets of agents that their settings name.
        listen: host:port; port 0 takes a free one.
        url: where others reach it; empty: as `listen`.
        tickets_per_user: most unused tickets that one owner may hold at once, and most requests within an hour.
        tickets_share: percent of all places that one owner's unused tickets may hold; a slice on every node may.
    """

    database_url: DatabaseUrl
    name: str = "agent"
    listen: HostPort = "127.0.0.1:7444"
    url: HttpsUrlOrNone = Field(default="", validation_alias="DSLICE_AGENT_URL")
    tickets_per_user: Annotated[int, Field(ge=1)] = 5_000
    tickets_share: Annotated[int, Field(ge=1, le=100)] = 50
