"""Files there and back: scp, sftp and rsync with binary data, by the real clients."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.frontdoor.conftest import SLICE, Node, new_key

BINARY = os.urandom(3 << 20) + bytes(range(256)) * 16


def run(*argv: str, **how: object) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(argv, capture_output=True, timeout=60, **how)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr.decode()
    return done  # type: ignore[no-any-return]


@pytest.mark.parametrize("protocol", ["-s", "-O"], ids=["sftp", "legacy"])
def test_scp_there_and_back(node: Node, tmp_path: Path, protocol: str) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(BINARY)
    there.chmod(0o640)
    remote = f"{SLICE}@{node.address}:copied{protocol}"
    run("scp", "-p", protocol, *node.options(), str(there), remote)
    assert node.ssh(f"stat -c %a:%s ~/copied{protocol}").stdout.decode() == f"640:{len(BINARY)}\n"
    run("scp", "-p", protocol, *node.options(), remote, str(back))
    assert back.read_bytes() == BINARY
    assert int(back.stat().st_mtime) == int(there.stat().st_mtime)


def test_scp_of_a_whole_folder(node: Node, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a b/ü").mkdir(parents=True)
    (tree / "a b/ü/file").write_bytes(BINARY[:5000])
    (tree / "empty").touch()
    run("scp", "-r", *node.options(), str(tree), f"{SLICE}@{node.address}:")
    run("scp", "-r", *node.options(), f"{SLICE}@{node.address}:tree", str(tmp_path / "back"))
    assert (tmp_path / "back/a b/ü/file").read_bytes() == BINARY[:5000]
    assert (tmp_path / "back/empty").read_bytes() == b""


def test_an_sftp_session(node: Node, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(BINARY)
    script = (
        "mkdir box, cd box, put local one, ln -s one link, ln one hard, rename one two, chmod 600 two, ls -l,"
        "get two back, get hard back2, rm two, rm hard, rm link, cd .., rmdir box"
    )
    batch = tmp_path / "batch"
    batch.write_text(script.replace(",", "\n"))
    done = run("sftp", "-b", str(batch), *node.options(), f"{SLICE}@{node.address}", cwd=tmp_path)
    assert b"-rw-------" in done.stdout
    assert (tmp_path / "back").read_bytes() == BINARY
    assert (tmp_path / "back2").read_bytes() == BINARY
    assert node.ssh("ls -d box").returncode == 2


def test_sftp_errors_are_said_and_end_nothing(node: Node, tmp_path: Path) -> None:
    script = b"-get /nowhere x\n-rename /etc/passwd /etc/y\n-mkdir /usr/x\n-rm /etc/hosts\npwd\n"
    done = subprocess.run(
        ["sftp", "-b", "-", *node.options(), f"{SLICE}@{node.address}"],
        input=script, capture_output=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[-1].endswith(f"/home/{SLICE}")
    assert b"not found" in done.stderr
    refused = done.stderr.count(b"Permission denied") + done.stderr.count(b"Failure")
    assert refused >= 3  # OpenSSH's server has the second word for what is read-only


def test_a_tar_of_somebody_elses_files_unpacks(node: Node, tmp_path: Path) -> None:
    """Where the one user is root it can give files to nobody else, and tar as root would try to."""
    (tmp_path / "file").write_bytes(BINARY[:99])
    tar = run("tar", "-C", str(tmp_path), "--owner=1007", "--group=1007", "-c", "file").stdout
    assert node.ssh("tar x && stat -c %u file", input=tar).stdout == f"{node.uid}\n".encode()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed here")
def test_rsync_there_and_back(node: Node, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "data").write_bytes(BINARY)
    (tree / "link").symlink_to("data")
    shell = " ".join(["ssh", *node.options()])
    remote = f"{SLICE}@{node.address}:synced/"
    if os.geteuid() == 0:
        os.chown(tree / "data", 1000, 1000)  # a user's files, which the sliver's root cannot give to that user
    run("rsync", "-a", "-e", shell, f"{tree}/", remote)
    (tree / "data").write_bytes(BINARY[:-7] + b"changed")
    run("rsync", "-a", "--checksum", "-e", shell, f"{tree}/", remote)
    run("rsync", "-a", "-e", shell, remote, str(tmp_path / "back"))
    assert (tmp_path / "back/data").read_bytes() == BINARY[:-7] + b"changed"
    assert os.readlink(tmp_path / "back/link") == "data"


def test_ssh_copy_id_fails_and_the_file_says_what_to_do(node: Node, slice_name: str, tmp_path: Path) -> None:
    """Before, it said that it had added a key, and the key opened nothing."""
    if shutil.which("ssh-copy-id") is None:
        pytest.skip("ssh-copy-id is not installed here")
    other = new_key(tmp_path, "other")
    (tmp_path / ".ssh").mkdir()
    options = [f"-o{option}" for option in (f"Port={node.port}", f"IdentityFile={node.key}", "BatchMode=yes")]
    options += [f"-oUserKnownHostsFile={node.folder}/known_hosts"]
    copied = subprocess.run(
        ["ssh-copy-id", "-f", "-i", str(other.with_suffix(".pub")), *options, f"{slice_name}@{node.address}"],
        capture_output=True, timeout=60, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert copied.returncode != 0
    assert b"authorized_keys" in copied.stderr
    said = node.ssh("cat .ssh/authorized_keys", login=slice_name).stdout.decode()
    assert f"svm addkey {slice_name} KEYFILE" in said
