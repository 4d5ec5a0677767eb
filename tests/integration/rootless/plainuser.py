"""A user of this machine who is not root and has subordinate ids, for as long as a test lasts: in files of /etc that
only a mount namespace of its own shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# Ids that no user of a machine has (systemd's list of ids); two for each run, so that runs side by side do not meet.
_FIRST, _BLOCK, _BLOCKS = 0x8000_0000, 1 << 17, 1 << 13
_REPOSITORY = Path(__file__).parents[3]

# Arguments: who it is; a folder with passwd, subuid and an empty `stage`; what it must reach; --; the command.
_BECOME = """
set -e
user=$1 files=$2; shift 2
for name in subuid subgid; do [ -e /etc/$name ] || : >/etc/$name; mount -n --bind $files/subuid /etc/$name; done
mount -n --bind $files/passwd /etc/passwd
mount -n -t tmpfs -o mode=755 tests $files/stage
number=0
while [ "$1" != -- ]; do
    place=$1 closed=$2 number=$((number + 1)); shift 2
    mkdir $files/stage/$number
    mount -n --rbind "$place" $files/stage/$number
    [ "$closed" = / ] || mount -n -t tmpfs -o mode=755 tests "$closed"
    mkdir -p "$place"
    mount -n --rbind $files/stage/$number "$place"
done
shift
exec setpriv --reuid=$user --regid=$user --clear-groups -- "$@"
"""


@dataclass(frozen=True, slots=True)
class PlainUser:
    """Its number, and its home; `files` are what is shown to it in /etc."""

    number: int
    home: Path
    files: Path

    @property
    def first(self) -> int:
        """Of its subordinate users and groups."""
        return self.number + _BLOCK // 2

    @classmethod
    @contextmanager
    def made(cls, *, ids: bool = True) -> Iterator[PlainUser]:
        """With subordinate ids or without; skipped where this machine cannot show that, and why is said."""
        if os.geteuid() != 0:
            pytest.skip("only root can run tests as another user")
        if not all(map(shutil.which, ("newuidmap", "newgidmap"))):
            pytest.skip("newuidmap is not installed here (Debian: uidmap)")
        folder = Path(tempfile.mkdtemp(prefix="dslice-user-"))  # not below pytest's, which is closed to others
        folder.chmod(0o755)
        try:
            yield cls._make(folder, ids)
        finally:
            shutil.rmtree(folder)

    @classmethod
    def _make(cls, folder: Path, ids: bool) -> PlainUser:
        number = _FIRST + zlib.crc32(os.fsencode(folder)) % _BLOCKS * _BLOCK
        made = cls(number, folder / "home", folder / "files")
        made.home.mkdir(mode=0o700)
        os.chown(made.home, number, number)
        (made.files / "stage").mkdir(parents=True)
        words = Path("/etc/passwd").read_text() + f"tester:x:{number}:{number}::{made.home}:/bin/sh\n"
        (made.files / "passwd").write_text(words)
        (made.files / "subuid").write_text(f"tester:{made.first}:{_BLOCK // 2}\n" if ids else "")
        if made.run(["true"]).returncode:
            pytest.skip("this machine shows a test no /etc of its own, or has too few user ids")
        return made

    def run(
        self, command: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """To its end; both streams together are what it says."""
        reached = [word for path in (Path(sys.base_prefix), _REPOSITORY) for word in _opened(path)]
        apart = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", _BECOME, "sh"]
        words = [*apart, str(self.number), str(self.files), *reached, "--", *command]
        own = {"HOME": str(self.home), "PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        said = subprocess.PIPE
        return subprocess.run(
            words,
            env=own | dict(variables or {}),
            cwd=_REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )


def _opened(path: Path) -> list[str]:
    """The path and the uppermost folder above it that is closed to others; nothing when there is none."""
    closed = [str(folder) for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001]
    return [str(path), closed[0]] if closed else []
