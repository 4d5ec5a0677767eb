"""One SSH client, and the command lines by which it does what people do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.clients.installed import CLIENTS, lacking
from tests.integration.frontdoor.conftest import Node

# What people do, by the method that does it.
DEEDS = {
    "run": "a command",
    "feed": "its input",
    "shell": "a terminal",
    "variables": "environment",
    "put": "files to it",
    "get": "files from it",
    "dial": "-L",
    "socks": "-D",
    "listen": "-R",
    "unix": "a socket file",
    "jump": "-J",
    "shared": "one connection for many",
    "agent": "-A",
    "alive": "signs of life",
    "device": "FIDO",
    "many": "many nodes at once",
}


@dataclass(frozen=True, slots=True)
class Door:
    """An SSH server: the front door, or a real sshd before the same account.

    Args:
        node: where it listens, whom it lets in by which key.
        config: of OpenSSH's client, in which it is called `door`, and `again` beside that.
    """

    name: str
    node: Node
    config: Path

    def says(self, command: str) -> str:
        """What the command prints inside, by OpenSSH's client; it must succeed."""
        done = self.node.ssh(command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return str(done.stdout.decode().strip())


class Client:
    """A program or a library. What it has no way to do, or nobody does with it, is a method that it does not have.

    Each method returns a command line that ends with the status of what it ran. `put` and `get` copy a folder to a name
    that is not there yet; `dial` connects its own standard streams; `listen` and `socks` stay.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    programs: ClassVar[Sequence[str]] = ()

    def missing(self) -> str | None:
        """Why it cannot be tried on this machine; None: it can."""
        absent = [program for program in self.programs if shutil.which(program) is None]
        return lacking(self.package, absent) if absent else None

    def does(self, deed: str) -> bool:
        return hasattr(self, deed)


class Library(Client):
    """A library, driven by a small program of ours in `programs/`, with a command line like ssh's."""

    module: ClassVar[str]
    program: ClassVar[str]

    def argv(self, door: Door, *words: str) -> list[str]:
        node = door.node
        known_hosts = str(node.folder / "known_hosts")
        return [*self.starts(), node.address, str(node.port), node.login, str(node.key), known_hosts, *words]

    def starts(self) -> list[str]:
        """The interpreter that has the library, and the program."""
        python = CLIENTS.python_with(self.module)
        return [python or "", str(Path(__file__).with_name("programs") / self.program)]

    def missing(self) -> str | None:
        return None if CLIENTS.python_with(self.module) else lacking(self.package, [self.module])

    def run(self, door: Door, command: str) -> list[str]:
        return self.argv(door, "run", command)


class CopyingLibrary(Library):
    """One that also says where its input ends, and whose program copies folders and opens connections."""

    def feed(self, door: Door, command: str) -> list[str]:
        return self.run(door, command)

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return self.argv(door, "put", str(here), there)

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return self.argv(door, "get", there, str(here))

    def dial(self, door: Door, host: str, port: int) -> list[str]:
        return self.argv(door, "dial", host, str(port))
