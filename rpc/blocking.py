"""The synchronous client: for the command line, and for plc's client in services. Standard library only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rpc.credentials import Credentials
from rpc.reply import CONNECT_TIMEOUT, DEADLINE, Reply
from trust.identity import Identity


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream (HTML Living Standard, 9.2); ``event`` is "message" when the server named none."""

    id: str
    event: str
    data: str


class Connection:
    """One kept-alive connection to one server, opened at the first call. Threads that share it wait for one another."""

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        ca_pem: str | None = None,
        expect: Identity | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """``expect`` None: any identity of this CA at that address (plkeygen, before it knows plc's name)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens it again, with the certificate that is there then."""

    def reload(self) -> None:
        """Show the certificate that is in the folder now from the next call on."""

    def call(
        self,
        method: str,
        path: str,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = DEADLINE,
    ) -> Reply:
        """As ``rpc.aio.Session.call``; ``path`` is appended to the base URL."""
        raise NotImplementedError

    def stream(
        self, path: str, headers: Mapping[str, str] | None = None, *, idle: float = 60
    ) -> Iterator[ServerSentEvent]:
        """The events of a stream, on a connection of its own, until the server ends it.

        Raises Refusal as ``call`` does; TIMEOUT when nothing, not even a comment, comes for ``idle`` seconds. Continue
        after a break with the header ``Last-Event-ID``.
        """
        raise NotImplementedError
