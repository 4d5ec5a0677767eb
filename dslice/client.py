"""svmd as one user: where the key directory is, and one connection that all calls share."""

import atexit
import os
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dslice.ad import Ad
from dslice.errors import told

if TYPE_CHECKING:
    from dslice.slice import Slice
    from svm.client import Svmd
    from svm.home import Home
    from svm.request import Request


class Client:
    """A user's connection to svmd, opened at the first call; threads may share it.

    Args:
        home: the key directory; None: $PLANETLAB_HOME, else ~/.planetlab.
        plc, svmd: URLs; None: as `svm config show` says.
        parallelism: nodes worked on at once.
        connect_timeout: seconds to wait for a connection to a node.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        plc: str | None = None,
        svmd: str | None = None,
        parallelism: int = 16,
        connect_timeout: int = 10,
    ) -> None:
        with told():
            self._home = _home(home, plc, svmd)
        self.parallelism = parallelism
        self.connect_timeout = connect_timeout
        self._svmd: Svmd | None = None
        self._certificate = 0
        self._lock = Lock()

    def nodes(self, agent: str | None = None) -> list[Ad]:
        """The nodes that agents advertise; those of one agent."""
        with told():
            return [Ad.of(each) for each in self._open().ads(agent)]

    def slices(self) -> "list[Slice]":
        """Your slices."""
        from dslice.slice import Slice

        with told():
            return [Slice(each["name"], client=self) for each in self._open().slices()]

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._lock:
            if self._svmd is not None:
                self._svmd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> "Svmd":
        """The client that the command line uses too. A renewed certificate is shown at once."""
        from rpc.credentials import CERTIFICATE
        from svm.client import Svmd
        from svm.flags import Flags

        with self._lock:
            if self._svmd is None:
                flags = Flags(parallelism=self.parallelism, connect_timeout=self.connect_timeout)
                self._svmd = Svmd(self._home, flags)
            shown = (self._home.directory / CERTIFICATE).stat().st_mtime_ns
            if shown != self._certificate:
                self._home.require_certificate()
                self._svmd.close()
                self._certificate = shown
            return self._svmd

    def _ask(self, request: "Request") -> str:
        """Ask for an operation; its id."""
        return self._open().start(request).operation

    def _slice(self, name: str) -> dict[str, Any]:
        """`GET /slices/{name}`."""
        return self._open().slice(name)


connect = Client
"""`dslice.connect()`: the settings are found as `svm` finds them, or given; nobody is asked anything yet."""


def nodes(agent: str | None = None) -> list[Ad]:
    """The nodes that agents advertise; those of one agent."""
    return default_client().nodes(agent)


def slices() -> "list[Slice]":
    """Your slices."""
    return default_client().slices()


_default: Client | None = None


def default_client() -> Client:
    """The one that is used where none is given: of the key directory that the environment names now."""
    global _default  # noqa: PLW0603 - one connection for a program that names none
    with told():
        home = _home(None, None, None)
    if _default is None or _default._home != home:
        _default = Client()
        atexit.register(_default.close)
    return _default


def _home(directory: str | os.PathLike[str] | None, plc: str | None, svmd: str | None) -> "Home":
    from dataclasses import replace
    from pathlib import Path

    from svm.home import Home

    home = Home.find(None if directory is None else Path(directory))
    return replace(home, plc_url=plc or home.plc_url, svmd_url=svmd or home.svmd_url)
