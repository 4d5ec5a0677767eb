"""Who may log in to a slice on this node: what the store tells the front door (docs/slivers.md, "The front door")."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from trust.sshkeys import PublicKey


@dataclass(frozen=True, slots=True)
class Access:
    """One sliver as the front door sees it.

    Args:
        slice: login name.
        slice_id: which registration of that name; a session begun under another one is over.
        keys: users' keys (addkey), the whole set.
        slice_key: public half of the slice's own pair, which may log in too, without forwarding.
        expires_at: end of the lease (UTC); no authentication and no new channel from then on.
        peers: (address, port) of the front doors that direct-tcpip may reach: those of all advertised nodes.
        stopped: why nobody can be inside now; "": it runs.
    """

    slice: str
    slice_id: UUID
    keys: tuple[PublicKey, ...]
    slice_key: PublicKey
    expires_at: datetime
    peers: frozenset[tuple[str, int]]
    stopped: str = ""


class AccessTable(Protocol):
    """Read at every authentication and at every channel's opening, from the front door's threads."""

    def lookup(self, slice: str) -> Access | None:
        """The whole sliver of that name, running or stopped, if its lease has not ended; else None."""


class SessionCloser(Protocol):
    """The part of the front door that the node manager calls when somebody may no longer be inside."""

    def close_sessions(self, slice: str, *, keys: Collection[str] | None) -> None:
        """End the sessions of `slice` that came in with one of `keys` (fingerprints, SHA256:…); None: all."""

    def logged_in(self) -> int:
        """How many connections are logged in now."""
