"""One node of a slice: commands, files, tunnels, by the user's own OpenSSH client."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dslice.errors import Error
from dslice.result import Result

if TYPE_CHECKING:
    from dslice.slice import Slice

Command = str | Sequence[str]
"""A line for the shell of the VM, or words."""
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One file or folder, or several."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a slice, as it was when it was asked for.

    Args:
        address: its IP address.
        name: as in its certificate.
        state: of its VM: `ticketed leased running expired deleting` …
        ends: its ticket's or lease's end, UTC.
        error: what went wrong there last; empty: nothing.
        facts: all that svmd says of it.
    """

    slice: "Slice" = field(repr=False, compare=False)
    address: str
    name: str
    state: str
    ends: datetime | None
    error: str
    facts: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, slice: "Slice", sliver: dict[str, Any]) -> "Node":
        """One of the slivers of `GET /slices/{name}`."""
        end = sliver["expires_at"]
        ends = datetime.fromisoformat(end) if end else None
        error = sliver["last_error"] or ""
        return cls(slice, sliver["node"], sliver["name"], sliver["state"], ends, error, sliver)

    def run(self, command: Command, *, timeout: float | None = None) -> Result:
        """Run a command, a line for the shell there or words, and wait for it. A status that is not 0 is no error."""
        return next(iter(self.slice.run(command, nodes=[self.address], timeout=timeout)))

    def put(self, source: Paths, target: str = "") -> None:
        """Copy files or folders there, with their times; `target` begins at the slice's home. Error(copy-failed)."""
        _copied(next(iter(self.slice.put(source, target, nodes=[self.address]))))

    def get(self, source: Paths, target: str | os.PathLike[str] = ".") -> None:
        """Copy files or folders from there to `target`, here. Error(copy-failed)."""
        words = [*there(self.address, source), *here(target)]
        _copied(next(iter(self.slice._copy(lambda _: words, [self.address]))))

    def ssh_config(self) -> str:
        """An entry for ssh_config(5), with the node's host key pinned, for ssh, scp, rsync and editors."""
        from svm.sshconfig import KNOWN_HOSTS, config_text

        config, hosts = self.slice._doors([self.address])
        return config_text(self.slice.name, hosts, config.with_name(KNOWN_HOSTS))

    def open_tunnel(self, port: int, *, local: int = 0) -> "Tunnel":
        """A port here, on 127.0.0.1, that leads to `port` of the VM; `local` 0: a free one. Close it after use."""
        config, hosts = self.slice._doors([self.address])
        here = local or _free_port()
        return Tunnel([*self.slice._ssh_words(config), *_forwarding(port, here), "--", hosts[0].node], here)

    def __str__(self) -> str:
        return self.address


class Tunnel:
    """A port of 127.0.0.1 that leads into a VM, until it is closed.

    Args:
        host, port: where it listens.
    """

    host = "127.0.0.1"

    def __init__(self, argv: Sequence[str], port: int) -> None:
        import subprocess

        self.port = port
        self._ssh = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._ssh.stdout is not None  # noqa: S101 - asked for above
        if not self._ssh.stdout.readline():
            _, said = self._ssh.communicate()
            words = said.strip().splitlines() or [f"ssh ended with status {self._ssh.returncode}"]
            raise Error("tunnel-failed", words[-1].strip())

    def close(self) -> None:
        """End it, and what goes through it."""
        self._ssh.terminate()
        self._ssh.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def shell_line(command: Command) -> str:
    """As the shell of the VM is to read it."""
    import shlex

    return command if isinstance(command, str) else shlex.join(command)


def here(paths: Paths) -> list[str]:
    """Files of this machine as scp reads them: absolute, so that a colon in a name is none of a host's."""
    return [str(Path(each).expanduser().absolute()) for each in _each(paths)]


def there(node: str, paths: Paths) -> list[str]:
    """Files of a node's; they begin at the slice's home, and scp has no shell that would know `~`."""
    from svm.openssh import in_scp

    return [f"{in_scp(node)}:{'' if each == '~' else each.removeprefix('~/')}" for each in _each(paths)]


def _each(paths: Paths) -> list[str]:
    return [os.fspath(each) for each in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


def _forwarding(port: int, local: int) -> list[str]:
    """ssh says a line, by its LocalCommand, once it listens."""
    settings = ("ExitOnForwardFailure=yes", "PermitLocalCommand=yes", "LocalCommand=echo ready")
    return [
        "-N",
        "-L",
        f"{Tunnel.host}:{local}:localhost:{port}",
        *(word for each in settings for word in ("-o", each)),
    ]


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind((Tunnel.host, 0))
        return int(found.getsockname()[1])


def _copied(result: Result) -> None:
    from svm.openssh import last_words

    if not result.ok:
        reason = last_words(result.status, result.stderr.encode())
        raise Error("copy-failed", f"{result.node}: {reason}")
