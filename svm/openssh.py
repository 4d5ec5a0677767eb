"""The command lines of the user's own OpenSSH client: ssh and scp into a slice, host keys pinned (`svm.sshconfig`)."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from trust.errors import Code, Refusal

SSH_FAILED = 255
"""ssh's own exit status when it is the connection that failed."""
PERMISSION_DENIED = b"Permission denied"
CLOSED = "scp: Connection closed"


def ssh_command(config: Path, identity: str | None = None) -> list[str]:
    """ssh with the slice's configuration, and only that key where one is named."""
    return ["ssh", "-F", str(config), *(identities(["-i", identity]) if identity else [])]


def scp_command(config: Path, identity: str | None, connect_timeout: int) -> list[str]:
    """scp, which asks nothing, for files and folders with their times; source and target follow."""
    keys = identities(["-i", identity]) if identity else []
    return ["scp", "-F", str(config), *keys, *unattended(connect_timeout), "-r", "-p", "--"]


def identities(options: Sequence[str]) -> list[str]:
    """With -i among ssh's options: that key, and no other."""
    found = [value for option, value in pairwise(options) if option == "-i"]
    return ["-o", "IdentitiesOnly=yes", *(word for value in found for word in ("-i", value))] if found else []


def unattended(connect_timeout: int) -> list[str]:
    """Options of ssh where nobody can be asked; `connect_timeout` in seconds."""
    return ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={connect_timeout}"]


def in_scp(node: str) -> str:
    """A node's address as scp reads it before a colon."""
    return f"[{node}]" if ":" in node else node


def last_words(status: int, output: bytes) -> str:
    """Why a copy failed: what ssh or scp said last, but for scp's own line that ssh has ended."""
    lines = [text for text in output.decode("utf-8", "replace").splitlines() if text.strip()]
    return next((text for text in reversed(lines) if text.strip() != CLOSED), f"scp ended with status {status}")


def require(program: str) -> None:
    """Refusal(NOT_FOUND) where `program`, ssh or scp, is not on this machine."""
    from shutil import which

    if which(program) is None:
        raise no_ssh()


def no_ssh() -> Refusal:
    return Refusal(Code.NOT_FOUND, "no ssh on this machine; install the OpenSSH client")


def key_cure(name: str) -> str:
    """What helps when a front door knows none of the user's keys."""
    return f"Let a key in with: svm addkey {name} KEYFILE; or name the right one with -i"
