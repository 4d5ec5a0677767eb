"""A service's standing with plc: how it gets in, keeps its certificate and its revocation list fresh."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from plc.client.calls import Plc
from rpc.credentials import Credentials
from trust.clock import Clock
from trust.identity import Identity, Role
from trust.store import TrustStore

CRL_SECONDS = 20  # between two looks at the revocation list (PROTOCOL "Identities")


class Member:
    """An enrolled service: ``credentials`` (its certificate), ``store`` (root, revocations), ``plc`` (its client)."""

    identity: Identity
    credentials: Credentials
    store: TrustStore
    plc: Plc

    @classmethod
    def join(
        cls,
        *,
        directory: Path,
        plc_url: str,
        role: Role,
        name: str,
        addresses: Sequence[str] = (),
        token: str | None = None,
        clock: Clock,
        store: TrustStore | None = None,
    ) -> Self:
        """Take up the certificate in ``directory``, or enrol with the token when there is none or it has ended.

        Args:
            directory: the service's state folder (made 0700), for key.pem, cert.pem, ca.pem.
            addresses: IP addresses or host names it answers at; must be among those of the token (empty: no check).
            token: from ``dslice plc token ROLE NAME ADDRESS…``; only looked at when there is no valid certificate.
            store: one to share, for a process with many members (simulated nodes).

        Raises Refusal: UNREACHABLE (try again later), NOT_AUTHENTICATED (token used, expired, another's).
        """
        raise NotImplementedError

    def announce(self, url: str) -> None:
        """Agents and svmd: put the base URL into the directory, again at each start."""
        raise NotImplementedError

    def on_renew(self, callback: Callable[[], None]) -> None:
        """Called in the background thread after a new certificate was saved, to reload TLS contexts."""
        raise NotImplementedError

    def start(self) -> None:
        """Background thread: the revocation list each 20 s, the certificate at 2/3 of its life."""
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError


class Keeper:
    """One thread that looks after many members (simulated nodes): lists fetched once for each shared store."""

    def __init__(self, members: Sequence[Member]) -> None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError
