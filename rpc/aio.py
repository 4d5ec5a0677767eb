"""The asynchronous client, for workers, node managers and agents: many servers, connections kept alive."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rpc.credentials import Credentials
from rpc.reply import CONNECT_TIMEOUT, DEADLINE, Reply
from trust.identity import Identity


class Session:
    """Calls with one certificate. Open and close it in the loop that uses it (``async with``)."""

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        ca_pem: str | None = None,
        limit: int = 0,
        limit_per_host: int = 0,
        keepalive: int = 15,
    ) -> None:
        """``limit``: connections in all, ``limit_per_host``: for one server (0: any); ``keepalive``: idle seconds."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""

    def reload(self) -> None:
        """Show the certificate that is in the folder now on every new connection."""

    async def call(
        self,
        method: str,
        url: str,
        *,
        expect: Identity,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        deadline: float = DEADLINE,
    ) -> Reply:
        """One request and its answer, within ``deadline`` seconds in all.

        No byte of the request leaves before the server's address and identity (``expect``) are checked. Raises
        Refusal: UNREACHABLE, TIMEOUT, WRONG_CERTIFICATE, NOT_AUTHENTICATED (our certificate is refused), INTERNAL
        (the answer makes no sense), or what the server said.
        """
        raise NotImplementedError
