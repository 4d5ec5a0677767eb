"""The /etc of a sliver: written outside by the node manager, bound read-only, nothing of the host's that is secret."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nodemgr.slivers.drivers.driver import NO_VARIABLES
from nodemgr.slivers.inside import boot, relay, sftp
from nodemgr.slivers.inside.view import PYTHON, home_of, host_etc
from rpc.files import replace_file

SHELL = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
PATH = "/etc/slice/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Inside: the slice's private key, and what answers `sftp` and `scp`.
SLICE_KEY = "/etc/slice/ssh_key"
SFTP_SERVER = "/etc/slice/sftp-server"
# Inside: what makes sockets for the front door to forward.
RELAY = "/etc/slice/relay"

# What a sliver's first process runs in the end: a copy of the host's, of the same name for a host with one program for
# all, that nobody inside may read. The kernel lets nobody trace what he may not read (ptrace(2), execve(2)), and so
# end the whole sliver, or put words into its mouth.
SLEEP = "/etc/slice/sleep"

# Small public files of the host that programs look for; copied, so that a replaced one does not leave a stale bind.
_COPIED = (
    *("ld.so.cache", "localtime", "resolv.conf", "services", "protocols", "ssl/openssl.cnf"),
    *("debian_version", "os-release"),
)
MACHINE_ID = "machine-id"

# A python3 of /usr is the sliver's too; the interpreter that runs this may not be.
SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")

# The sliver's root is its one user: giving a file to another fails. tar and rsync, which as root would try to keep the
# owners of what they unpack, are told that they are not root, so that `rsync -a` and `tar x` do not end in errors.
TAR_OPTIONS = "--no-same-owner"
_RSYNC = """\
#!/bin/sh
exec /usr/bin/rsync --no-super "$@"
"""
# For the programs that whoever expects a machine types.
_NO_ROOT = """\
#!/bin/sh
echo "${0##*/}: slivers of this node have no root inside and no packages of their own; those of nodes with the driver" \
    "machine do: svm getads --long" >&2
exit 1
"""
_NEED_ROOT = ("sudo", "apt", "apt-get")

# What every hosts(5) begins with.
LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

_PROFILE = """\
export PATH={path}
if [ -n "${{BASH_VERSION-}}" ]; then
    . /etc/bash.bashrc
    if [ -r ~/.bashrc ]; then . ~/.bashrc; fi
fi
"""

_BASHRC = """\
[ -z "${PS1-}" ] || PS1='\\u@\\h:\\w\\$ '
"""

AUTHORIZED_KEYS = """\
# Keys in this file, or added to it by ssh-copy-id, open nothing. Who may log in is kept outside:
#     svm addkey {slice} KEYFILE
#     svm delkey {slice} KEYFILE
"""

_SSH_CONFIG_TAIL = f"""
# The slice's own key pair, good on every node of the slice.
Match all
    IdentityFile {SLICE_KEY}
    IdentityFile ~/.ssh/id_ed25519
    IdentityFile ~/.ssh/id_rsa
"""


@dataclass(frozen=True, slots=True)
class Names:
    """What the sliver is called: slice (login name) and hostname."""

    slice: str
    hostname: str


def environment(slice: str, variables: Mapping[str, str] = NO_VARIABLES) -> dict[str, str]:
    """The environment of a session: LANG unless `variables` has another, those, and what is fixed."""
    fixed = {"HOME": home_of(slice), "USER": slice, "LOGNAME": slice, "SHELL": SHELL, "PATH": PATH}
    return {"LANG": "C.UTF-8", **variables, **fixed, "TAR_OPTIONS": TAR_OPTIONS}


def python_folder() -> Path | None:
    """The interpreter's own folder where the sliver has no other, and it must be bound there; else None."""
    if any(os.path.exists(path) for path in SYSTEM_PYTHONS):
        return None
    prefix = Path(sys.base_prefix)
    return None if prefix.is_relative_to("/usr") else prefix


def sftp_command() -> str:
    """The command line, inside, of the sftp server: OpenSSH's where the host has it, else our own."""
    for path in SFTP_SERVERS:
        if os.path.exists(path):
            return path
    return f"{_python()} /etc/slice/sftp_server.py"


def python(folder: str | None = None) -> list[str]:
    """The command line of an interpreter that loads nothing of the user's. The interpreter's own folder, where it is
    that one, is at `folder`; None: here."""
    pythons = [path for path in SYSTEM_PYTHONS if os.path.exists(path)]
    if not pythons:
        prefix = (folder if python_folder() else None) or sys.base_prefix
        pythons = [f"{prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"]
    return [pythons[0], "-I", "-S"]


def _python() -> str:
    """That command line inside."""
    return " ".join(python(PYTHON))


def write_etc(folder: Path, names: Names) -> None:
    """Write the whole folder but the slice key; what was there of an earlier start is replaced."""
    for path in ("/etc", *host_etc(), "/etc/ssh", "/etc/slice", "/etc/slice/bin", "/etc/ssl"):
        place = folder / Path(path).relative_to("/etc")
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
    write_names(folder, names)
    machine_id(folder)
    put(folder / "slice/sftp-server", f"#!/bin/sh\nexec {sftp_command()}\n".encode(), 0o755)
    put(folder / "slice/relay", f'#!/bin/sh\nexec {_python()} /etc/slice/relay.py "$@"\n'.encode(), 0o755)
    put(folder / "slice/relay.py", Path(relay.__file__).read_bytes(), 0o644)
    put(folder / "slice/sftp_server.py", Path(sftp.__file__).read_bytes(), 0o644)
    put(folder / "slice/boot", boot.PLAIN.encode(), 0o755)
    put(folder / "slice/bin/rsync", _RSYNC.encode(), 0o755)
    for name in _NEED_ROOT:
        put(folder / "slice/bin" / name, _NO_ROOT.encode(), 0o755)
    for name in _COPIED:
        if os.path.isfile(f"/etc/{name}"):
            put(folder / name, Path(f"/etc/{name}").read_bytes(), 0o644)


def machine_id(folder: Path) -> str:
    """The sliver's own (machine-id(5)), drawn once and kept in this folder of the node manager's."""
    path = folder / MACHINE_ID
    with contextlib.suppress(OSError, ValueError):
        return uuid.UUID(path.read_text(encoding="ascii").strip()).hex
    drawn = uuid.uuid4().hex
    replace_file(path, f"{drawn}\n".encode(), 0o644, durable=False)
    return drawn


def write_names(folder: Path, names: Names) -> None:
    """Write those of its files that depend on what the sliver is called, with a few that are as small."""
    for name, text in _texts(names).items():
        put(folder / name, text.encode(), 0o644)
    if not (folder / "hosts").is_symlink():
        (folder / "hosts").unlink(missing_ok=True)
        (folder / "hosts").symlink_to("ssh/hosts")  # one for all slivers of the node, kept by its neighbours' list


def write_slice_key(
    folder: Path, private_key: str, public_key: str, owner: int | None, *, durable: bool = True
) -> tuple[Path, Path]:
    """Put the slice's key pair there, readable by the sliver's root alone; the two files.

    ssh(1) refuses a private key that is its caller's own and readable by others; hence 0400 and that owner.
    """
    public, private = folder / "slice/ssh_key.pub", folder / "slice/ssh_key"
    replace_file(public, (public_key.strip() + "\n").encode(), 0o644, durable=durable)
    replace_file(private, (private_key.strip() + "\n").encode(), 0o400, owner, durable=durable)
    return public, private


def write_authorized_keys(home: Path, slice: str, owner: int | None) -> None:
    """Have the file say that it opens nothing, in a home that nobody has entered yet. It cannot be written to, so that
    ssh-copy-id fails rather than seems to work."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    if owner is not None:
        os.chown(folder, owner, owner)
    replace_file(folder / "authorized_keys", AUTHORIZED_KEYS.format(slice=slice).encode(), 0o400, owner)


def write_first_process(folder: Path, owner: int | None, source: Path = Path("/usr/bin/sleep")) -> None:
    """Put `SLEEP` there, as the sliver's root: of another owner, the kernel would keep us out as well."""
    content, path = source.read_bytes(), folder / "slice/sleep"
    with contextlib.suppress(FileNotFoundError):
        there = path.stat()
        if (there.st_size, stat.S_IMODE(there.st_mode)) == (len(content), 0o111):
            return
    replace_file(path, content, 0o111, owner, durable=False)


def ssh_config(text: str) -> str:
    """The node manager's ssh_config, and after it what makes `ssh OTHERNODE` use the slice's key."""
    return text.rstrip("\n") + "\n" + _SSH_CONFIG_TAIL


def put(path: Path, content: bytes, mode: int) -> None:
    """Replace a file unless it is just that already: a sliver starts again without a byte of room on the disk. Each
    start looks anew, after a power cut too."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content and stat.S_IMODE(path.stat().st_mode) == mode:
            return
    replace_file(path, content, mode, durable=False)


def _texts(names: Names) -> dict[str, str]:
    """The generated files: name below /etc to content."""
    hostname = names.hostname.replace("_", "-")
    return {
        "passwd": f"{names.slice}:x:0:0:slice {names.slice}:{home_of(names.slice)}:{SHELL}\n"
        "nobody:x:65534:65534:the host:/nonexistent:/usr/sbin/nologin\n",
        "group": f"{names.slice}:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
        "hostname": hostname + "\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
        "host.conf": "multi on\n",
        "profile": _PROFILE.format(path=PATH),
        "bash.bashrc": _BASHRC,
        "shells": "/bin/sh\n/bin/bash\n",
    }
