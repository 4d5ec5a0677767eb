"""Clients that are libraries, each by a small program in `programs/`."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.clients.client import CopyingLibrary, Door, Library
from tests.clients.installed import CLIENTS, lacking


class Paramiko(CopyingLibrary):
    name = "paramiko"
    package = "pip install paramiko"
    module = "paramiko"
    program = "paramiko_client.py"


class AsyncSSH(CopyingLibrary):
    name = "asyncssh"
    package = "pip install asyncssh"
    module = "asyncssh"
    program = "asyncssh_client.py"

    def variables(self, door: Door, command: str, **variables: str) -> list[str]:
        return self.argv(door, "run", command, *(f"{name}={value}" for name, value in variables.items()))

    def socks(self, door: Door, port: int) -> list[str]:
        return self.argv(door, "socks", str(port))

    def listen(self, door: Door, port: int, home: int) -> list[str]:
        return self.argv(door, "listen", str(port), str(home))

    def unix(self, door: Door, here: Path, there: str) -> list[str]:
        return self.argv(door, "unix", str(here), there)

    def jump(self, door: Door, command: str) -> list[str]:
        return self.argv(door, "jump", command)


class Fabric(Library):
    name = "fabric"
    package = "pip install fabric"
    module = "fabric"
    program = "fabric_client.py"


class Libssh(CopyingLibrary):
    name = "libssh"
    package = "pip install ssh-python"
    module = "ssh"
    program = "libssh_client.py"


class Libssh2(CopyingLibrary):
    name = "libssh2"
    package = "pip install ssh2-python"
    module = "ssh2"
    program = "libssh2_client.py"


class NodeSsh2(CopyingLibrary):
    name = "npm's ssh2"
    package = "npm install ssh2"
    module = "ssh2"
    program = "ssh2.cjs"

    def starts(self) -> list[str]:
        program = str(Path(__file__).with_name("programs") / self.program)
        return ["env", f"NODE_PATH={CLIENTS.node_modules()}", "node", program]

    def missing(self) -> str | None:
        there = shutil.which("node") and CLIENTS.node_modules()
        return None if there else lacking(self.package, [self.module])

    def listen(self, door: Door, port: int, home: int) -> list[str]:
        return self.argv(door, "listen", str(port), str(home))
