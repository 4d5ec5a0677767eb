"""Files are replaced whole or not at all, and everybody who writes one does it so."""

import ast
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rpc.files import create_file, replace_file, write_file
from tests.product import PACKAGES, ROOT

# Calls that replace a file by hand. Who may make them: the one place, folders that change their name, sftp's own
# requests, two files that change together (credentials), and files that nobody reads after a crash.
BY_HAND = {"rename", "renames", "link", "mkstemp", "NamedTemporaryFile", "write_text", "write_bytes"}
ALLOWED = {
    "rpc/files.py": "the one place",
    "nodemgr/frontdoor/hostkey.py": "a damaged key that changes its name",
    "rpc/credentials.py": "key and certificate in two steps, finished after a crash",
    "nodemgr/storage/ballast.py": "blocks that change their name; what they hold is void",
    "nodemgr/storage/databasefile.py": "names that say something by being there",
    "rpc/tls.py": "a file that OpenSSL reads at once",
    "nodemgr/slivers/drivers/simulated.py": "slivers that are only said to be there: what counts is the name",
    "nodemgr/slivers/inside/sftp.py": "what the client asked for",
    "nodemgr/slivers/inside/folder.py": "a folder that is put aside, or gets its slice's name",
    "nodemgr/slivers/inside/base.py": "a folder, put in place when it is whole",
    "nodemgr/slivers/drivers/podman.py": "a container that gets its slice's name",
    "nodemgr/slivers/limits/cgroups.py": "files of the kernel",
    "nodemgr/slivers/limits/disk.py": "an empty disk, put in place when it is whole",
    "testbed/embedded.py": "a database's folder, put in place when it is whole",
    "admin/lab/backup.py": "a backup, and the folders that come out of one, put in place when they are whole",
    "admin/man.py": "made by hand, again each time",
    "admin/images/tree.py": "a file's second name, as the image's source says",
    "admin/images/store.py": "an image's folder, put in place when it is whole",
    "testbed/demo.py": "a run's own scratch",
}

# Writes A and B by turns until it is killed.
WRITER = """
import sys
from pathlib import Path
from rpc.files import replace_file
print("begun", flush=True)
while True:
    for letter in "ab":
        replace_file(Path(sys.argv[1]), letter.encode() * 200_000)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def by_hand(node: ast.AST) -> bool:
    """Whether it calls one of these, or `replace` as a path has it: with one argument, or two of the module os."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    if node.func.attr == "replace":
        of_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
        return of_os or (len(node.args) == 1 and not node.keywords)
    return node.func.attr in BY_HAND


def test_a_file_has_its_content_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "file", b"one", 0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    replace_file(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["file"]


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The kernel refuses in the middle, as it does on a full disk."""
    path = tmp_path / "file"
    replace_file(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        for write in (replace_file, create_file, write_file):
            with pytest.raises(OSError, match="too large"):
                write(path if write is replace_file else tmp_path / "another", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITER, path], cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            for _ in range(50):
                found = path.read_bytes() if path.exists() else b"a" * 200_000
                assert found in (b"a" * 200_000, b"b" * 200_000)
            writer.kill()
        if path.exists():
            assert path.read_bytes() in (b"a" * 200_000, b"b" * 200_000)


def test_content_is_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut needs and no test can see otherwise: the order of the kernel's calls, each really made."""
    calls: list[str] = []
    fsync, rename = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def seen_rename(old: Path, new: Path) -> None:
        calls.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_rename)
    replace_file(tmp_path / "file", b"x")
    assert [Path(call).name.startswith(".file.") for call in calls] == [True, False, False]
    assert calls[1:] == ["rename", str(tmp_path)]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "file").symlink_to("victim")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()


def test_a_file_that_is_made_once_stays_the_first_ones(tmp_path: Path) -> None:
    assert create_file(tmp_path / "file", b"first")
    assert not create_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_nobody_else_replaces_files_by_hand() -> None:
    sources = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    writers = {
        str(path.relative_to(ROOT)) for path in sources if any(map(by_hand, ast.walk(ast.parse(path.read_text()))))
    }
    assert "rpc/files.py" in writers
    assert writers <= ALLOWED.keys()
