"""Clients that are programs: OpenSSH's, PuTTY's, dropbear's, and those that copy files."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from tests.clients.client import Client, Door


class OpenSSH(Client):
    name = "OpenSSH"
    package = "openssh-client"
    programs = ("ssh", "scp")

    def argv(self, door: Door, *options: str) -> list[str]:
        return ["ssh", "-F", str(door.config), *options, "door"]

    def run(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door), command]

    feed = run

    def shell(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-tt"), command]

    def variables(self, door: Door, command: str, **variables: str) -> list[str]:
        return [*self.argv(door, "-oSetEnv=" + " ".join(f"{k}={v}" for k, v in variables.items())), command]

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return ["scp", "-qr", "-F", str(door.config), str(here), f"door:{there}"]

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return ["scp", "-qr", "-F", str(door.config), f"door:{there}", str(here)]

    def dial(self, door: Door, host: str, port: int) -> list[str]:
        return self.argv(door, f"-W{host}:{port}")

    def socks(self, door: Door, port: int) -> list[str]:
        return self.argv(door, "-N", f"-D127.0.0.1:{port}")

    def listen(self, door: Door, port: int, home: int) -> list[str]:
        return self.argv(door, "-N", f"-R{port}:127.0.0.1:{home}")

    def unix(self, door: Door, here: Path, there: str) -> list[str]:
        return self.argv(door, "-N", f"-L{here}:{there}")

    def jump(self, door: Door, command: str) -> list[str]:
        return ["ssh", "-F", str(door.config), "-J", "door", "again", command]

    def shared(self, door: Door, place: Path, *words: str) -> list[str]:
        return [*self.argv(door, f"-S{place}"), *words] if words else self.argv(door, "-M", "-N", f"-S{place}")

    def agent(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-A"), command]

    def alive(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-oServerAliveInterval=1", "-oServerAliveCountMax=1"), command]

    def device(self, door: Door, key: Path, command: str) -> list[str]:
        node = door.node
        known = f"-oUserKnownHostsFile={node.folder / 'known_hosts'}"
        options = ["-F/dev/null", "-oBatchMode=yes", "-oIdentitiesOnly=yes", f"-i{key}", f"-p{node.port}", known]
        return ["ssh", *options, f"{node.login}@{node.address}", command]


class PuTTY(Client):
    name = "PuTTY (plink, psftp)"
    package = "putty-tools"
    programs = ("plink", "psftp", "puttygen")

    def options(self, door: Door) -> list[str]:
        node = door.node
        hostkey = (node.folder / f"fingerprint-{node.port}").read_text()
        return ["-batch", "-P", str(node.port), "-l", node.login, "-i", f"{node.key}.ppk", "-hostkey", hostkey]

    def argv(self, door: Door, *options: str) -> list[str]:
        return ["plink", "-ssh", *self.options(door), *options, door.node.address]

    def run(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door), command]

    feed = run

    def shell(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-t"), command]

    def copies(self, door: Door, *words: str) -> list[str]:
        psftp = shlex.join(["psftp", "-b", "/dev/stdin", *self.options(door), door.node.address])
        return ["sh", "-c", f'echo "$1" | {psftp}', "sh", " ".join(words)]

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return self.copies(door, "put", "-r", str(here), there)

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return self.copies(door, "get", "-r", there, str(here))

    def dial(self, door: Door, host: str, port: int) -> list[str]:
        return self.argv(door, "-nc", f"{host}:{port}")

    def socks(self, door: Door, port: int) -> list[str]:
        return self.argv(door, "-N", "-D", f"127.0.0.1:{port}")

    def listen(self, door: Door, port: int, home: int) -> list[str]:
        return self.argv(door, "-N", "-R", f"{port}:127.0.0.1:{home}")

    def jump(self, door: Door, command: str) -> list[str]:
        first = [*self.argv(door), "-nc", "%host:%port"]
        first[first.index(door.node.address) :] = ["-nc", "%host:%port", door.node.address]
        return [*self.argv(door, "-proxycmd", shlex.join(first)), command]

    def agent(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-A"), command]


class Dropbear(Client):
    name = "dropbear (dbclient)"
    package = "dropbear-bin"
    programs = ("dbclient", "dropbearconvert")

    def options(self, door: Door) -> list[str]:
        return ["-y", "-y", "-i", f"{door.node.key}.dropbear"]

    def argv(self, door: Door, *options: str) -> list[str]:
        node = door.node
        return ["dbclient", *self.options(door), "-p", str(node.port), *options, f"{node.login}@{node.address}"]

    def run(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door), command]

    feed = run

    def shell(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-t"), command]

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return Rsync.copies(self.argv(door)[:-1], f"{here}/", f"{door.node.login}@{door.node.address}:{there}")

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return Rsync.copies(self.argv(door)[:-1], f"{door.node.login}@{door.node.address}:{there}/", str(here))

    def dial(self, door: Door, host: str, port: int) -> list[str]:
        return self.argv(door, "-B", f"{host}:{port}")

    def listen(self, door: Door, port: int, home: int) -> list[str]:
        return self.argv(door, "-N", "-R", f"{port}:127.0.0.1:{home}")

    def jump(self, door: Door, command: str) -> list[str]:
        node = door.node
        host = f"{node.login}@{node.address}^{node.port}"
        itself = shutil.which("dbclient") or ""  # it starts itself by the name that it was started by
        return [itself, *self.options(door), f"{host},{host}", command]

    def agent(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-A"), command]

    def alive(self, door: Door, command: str) -> list[str]:
        return [*self.argv(door, "-K", "1"), command]


class Rsync(Client):
    name = "rsync"
    package = "rsync"
    programs = ("rsync", "ssh")

    @staticmethod
    def copies(shell: list[str], source: str, target: str) -> list[str]:
        return ["rsync", "-a", "-e", shlex.join(shell), source, target]

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return self.copies(["ssh", "-F", str(door.config)], f"{here}/", f"door:{there}")

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return self.copies(["ssh", "-F", str(door.config)], f"door:{there}/", str(here))


class Lftp(Client):
    name = "lftp"
    package = "lftp"
    programs = ("lftp", "ssh")

    def argv(self, door: Door, command: str) -> list[str]:
        connect = f'set sftp:connect-program "ssh -a -x -F {door.config}"; set net:max-retries 1; set cmd:fail-exit yes'
        return ["lftp", "-c", f"{connect}; open -u {door.node.login}, sftp://door; {command}"]

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return self.argv(door, f"mirror -R {here} {there}")

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return self.argv(door, f"mirror {there} {here}")


class Rclone(Client):
    name = "Go (rclone)"
    package = "rclone"
    programs = ("rclone",)

    def argv(self, door: Door, source: str, target: str) -> list[str]:
        node = door.node
        quiet = ["--config", "/dev/null", "--sftp-host", node.address, "--sftp-port", str(node.port)]
        user = ["--sftp-user", node.login, "--sftp-key-file", str(node.key)]
        return ["rclone", *quiet, *user, "--sftp-known-hosts-file", str(node.folder / "known_hosts"),
                "copy", "--create-empty-src-dirs", source, target]  # fmt: skip

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return self.argv(door, str(here), f":sftp:{there}")

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return self.argv(door, f":sftp:{there}", str(here))


class Sshfs(Client):
    name = "sshfs"
    package = "sshfs"
    programs = ("sshfs", "fusermount3", "ssh")

    def missing(self) -> str | None:
        return super().missing() or (None if Path("/dev/fuse").exists() else "this machine has no /dev/fuse")

    def argv(self, door: Door, copy: str) -> list[str]:
        mounted = f'set -e; at=$(mktemp -d); sshfs -F {door.config} door: "$at"; trap "fusermount3 -u $at" EXIT; {copy}'
        return ["sh", "-c", mounted]

    def put(self, door: Door, here: Path, there: str) -> list[str]:
        return self.argv(door, f'cp -r {here} "$at"/{there}')

    def get(self, door: Door, there: str, here: Path) -> list[str]:
        return self.argv(door, f'cp -r "$at"/{there} {here}')


class Mosh(Client):
    """What it runs has its terminal, whose end it does not tell."""

    name = "mosh"
    package = "mosh"
    programs = ("mosh", "mosh-server", "ssh")

    def shell(self, door: Door, command: str) -> list[str]:
        argv = ["mosh", "--predict=never", "--no-init", f"--ssh=ssh -F {door.config}", "door", "--"]
        return ["env", "LANG=C.UTF-8", *argv, "sh", "-c", command]


class Pssh(Client):
    name = "pssh"
    package = "pssh"
    programs = ("parallel-ssh", "ssh")

    def many(self, door: Door, command: str) -> list[str]:
        return ["parallel-ssh", "-i", "-x", f"-F {door.config}", "-H", "door", "-H", "again", command]


class Pdsh(Client):
    name = "pdsh"
    package = "pdsh"
    programs = ("pdsh", "ssh")

    def many(self, door: Door, command: str) -> list[str]:
        return ["env", f"PDSH_SSH_ARGS_APPEND=-F {door.config}", "pdsh", "-S", "-R", "ssh", "-w", "door,again", command]


class Clush(Client):
    name = "clush"
    package = "clustershell"
    programs = ("clush", "ssh")

    def many(self, door: Door, command: str) -> list[str]:
        return ["clush", "-S", "-o", f"-F {door.config}", "-w", "door,again", command]
