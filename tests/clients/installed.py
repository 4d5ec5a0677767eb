"""Where the clients of the bench come from; `python -m tests.clients.installed` installs those that lack (as root)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path

# A program and the package that has it. The first are those that `.ci/run` installs too: in a minute, all together.
QUICK = {
    "sshd": "openssh-server", "plink": "putty-tools", "dbclient": "dropbear-bin", "rsync": "rsync", "git": "git",
    "lftp": "lftp", "mosh": "mosh", "parallel-ssh": "pssh",
}  # fmt: skip
SLOW = {
    "clush": "clustershell", "crontab": "cron", "curl": "curl", "javac": "default-jdk-headless", "gcc": "gcc",
    "gdb": "gdb", "make": "make", "nginx": "nginx-light", "node": "nodejs", "npm": "npm", "mpiexec": "openmpi-bin",
    "pdsh": "pdsh", "initdb": "postgresql", "rclone": "rclone", "screen": "screen", "sshfs": "sshfs",
    "strace": "strace", "tmux": "tmux",
}  # fmt: skip
PYTHON = ("asyncssh", "fabric", "ssh-python", "ssh2-python")
NODE = ("ssh2",)
# All clients and all sizes (`make clients`); else what takes little, of what is installed.
ALL = os.environ.get("DSLICE_CLIENTS") == "all"
POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True, slots=True)
class Folder:
    """Libraries that are no dependency of ours, in an environment of their own beside the checkout's."""

    path: Path

    def python_with(self, module: str) -> str | None:
        """The interpreter that has a module: ours, or that of this folder; None: neither."""
        if importlib.util.find_spec(module) is not None:
            return sys.executable
        there = any(self.path.glob(f"lib/python*/site-packages/{module}"))
        return str(self.path / "bin/python") if there else None

    def node_modules(self) -> Path | None:
        """Where npm has put the clients; None: nowhere."""
        modules = self.path / "node_modules"
        return modules if (modules / NODE[0]).is_dir() else None


CLIENTS = Folder(Path(__file__).parents[2] / ".clients")


def lacking(package: str, absent: Sequence[str]) -> str:
    """Words for a test that is skipped."""
    return f"{', '.join(absent)} not found: {package}; make clients installs it"


def main() -> None:
    """Install what is not there, without starting any daemon that comes with it."""
    wanted = [package for program, package in (QUICK | SLOW).items() if not _found(program)]
    if wanted:
        with _no_daemons():
            _run(["apt-get", "update", "-qq"])
            _run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", *wanted])
    if not (CLIENTS.path / "bin/python").exists():
        venv.create(CLIENTS.path, with_pip=True)
    _run([str(CLIENTS.path / "bin/pip"), "install", "-qq", "--disable-pip-version-check", *PYTHON])
    if CLIENTS.node_modules() is None and shutil.which("npm"):
        _run(["npm", "install", "--silent", "--ignore-scripts", "--no-save", "--prefix", str(CLIENTS.path), *NODE])


def _found(program: str) -> bool:
    places = [os.environ["PATH"], "/usr/sbin", *glob("/usr/lib/postgresql/*/bin")]
    return shutil.which(program, path=":".join(places)) is not None


@contextmanager
def _no_daemons() -> Iterator[None]:
    """A package's daemon (sshd, nginx, PostgreSQL) is not started by its installation (policy-rc.d)."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _run(argv: Sequence[str]) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


if __name__ == "__main__":
    main()
