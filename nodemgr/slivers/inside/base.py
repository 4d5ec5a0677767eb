"""What a sliver with a root file system of its own begins as where its node has no image: the node's own programs and
packages, beneath an /etc and a /var that this module makes, without the node's secrets.

    /var/lib/dslice/bases/FINGERPRINT/   bin etc var …; root's, and read-only for every sliver

It is made once for all node managers of a machine, and again when something changed of what it is made from. One that
no sliver has stood on since this boot is removed.

Of the node's /etc a sliver gets what each installation has: configuration files as their packages brought them (dpkg
knows their sums), links of `alternatives`, certificates, the system's users and groups without its people, and where
packages come from, unless that holds a password.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pwd
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodemgr.slivers.inside import lent
from nodemgr.slivers.inside.view import TOP_LEVEL
from nodemgr.slivers.limits import hostranges
from nodemgr.slivers.process import ownids
from rpc.files import replace_file

log = logging.getLogger(__name__)

BASES = Path("/var/lib/dslice/bases")
_CLOCK_SECONDS = 86_400  # that the clock may have been put right by
_VERSION = 5  # of what this module makes
_DPKG = Path("/var/lib/dpkg")
_PEOPLE = range(1000, 65534)

_FOLDERS = {
    **dict.fromkeys(("boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "run", "srv", "sys", "usr"), 0o755),
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "var/local": 0o755,
    "etc/slice": 0o755,
    "etc/ssh/ssh_config.d": 0o755,
    "etc/pam.d": 0o755,
    "etc/sudoers.d": 0o750,
    **dict.fromkeys(
        ("var/backups", "var/cache/apt/archives/partial", "var/cache/debconf", "var/cache/ldconfig"), 0o755
    ),
    **dict.fromkeys(
        ("var/lib/apt/lists/partial", "var/lib/dpkg", "var/lib/misc", "var/lib/systemd", "var/lib/pam"), 0o755
    ),
    **dict.fromkeys(("var/log/apt", "var/opt", "var/spool/cron"), 0o755),
    "var/mail": 0o1777,
}
_LINKS = {
    "var/run": "/run",
    "var/lock": "/run/lock",
    "var/spool/mail": "../mail",
    "etc/hosts": "/etc/slice/hosts/hosts",
    "etc/mtab": "/proc/mounts",
    "etc/resolv.conf": "slice/resolv.conf",
    "etc/ssh/ssh_known_hosts": "/etc/slice/hosts/ssh_known_hosts",
    "etc/ssh/ssh_config.d/slice.conf": "/etc/slice/hosts/ssh_config",
}
# Made by the installation, not brought by a package, and the same for everybody.
_COPIED = (
    *("ld.so.cache", "ld.so.conf", "shells", "timezone", "environment", "ca-certificates.conf", "locale.gen"),
    "os-release",
)
_COPIED_TREES = ("alternatives", "ssl/certs", "pki/tls", "pki/ca-trust", "crypto-policies", "profile.d", "ld.so.conf.d")
_APT = ("sources.list", "sources.list.d", "apt.conf.d", "preferences.d", "trusted.gpg", "trusted.gpg.d", "keyrings")
_CREDENTIALS = re.compile(rb"://[^/\s]*@|password", re.IGNORECASE)

_PAM = "# As pam-auth-update(8) writes it where there is nothing but passwords.\n"
_TEXTS = {
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files dns\n"
    "services: files\nprotocols: files\nnetworks: files\n",
    "pam.d/common-auth": f"{_PAM}auth [success=1 default=ignore] pam_unix.so nullok\n"
    "auth requisite pam_deny.so\nauth required pam_permit.so\n",
    "pam.d/common-account": f"{_PAM}account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n"
    "account requisite pam_deny.so\naccount required pam_permit.so\n",
    "pam.d/common-password": f"{_PAM}password [success=1 default=ignore] pam_unix.so obscure yescrypt\n"
    "password requisite pam_deny.so\npassword required pam_permit.so\n",
    "pam.d/common-session": f"{_PAM}session required pam_permit.so\nsession required pam_unix.so\n",
    "pam.d/common-session-noninteractive": f"{_PAM}session required pam_permit.so\nsession required pam_unix.so\n",
    "fstab": "# The node mounts what there is.\n",
    "subuid": "",
    "subgid": "",
    "machine-id": "",
}
_PROFILE = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PATH\n"


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder of the node's that slivers see at `target`, each with its own changes, which are kept as `name`.

    Args:
        beneath: a folder whose files are seen where `source` has none; in slivers they are nobody's.
    """

    name: str
    source: Path
    target: str
    beneath: Path | None = None


def image_layers(root: Path) -> list[Layer]:
    """What a sliver of an image stands on."""
    return [Layer("root", root, "")]


def prepare(bases: Path | None = None) -> list[Layer]:
    """What slivers without an image stand on, made now unless it is there; lowest in the tree first.

    OSError: the disk is full, or a file of /etc cannot be read.
    """
    bases, shared = bases or _place(), hostranges.shared()
    own = [path for name in TOP_LEVEL if (path := Path("/", name)).is_dir() and not path.is_symlink()] + [Path("/usr")]
    bases.mkdir(mode=0o700, parents=True, exist_ok=True)
    skeleton = bases / _fingerprint()
    if not skeleton.is_dir():
        fresh = bases / f"new-{uuid.uuid4().hex}"
        try:
            _build(fresh)
            if shared is not None:
                lent.complete(fresh, own, _DPKG, shared)
            with contextlib.suppress(FileExistsError):  # another node manager was faster
                fresh.rename(skeleton)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    _remove_unused(bases, skeleton)
    own += [_DPKG] if shared is None and _DPKG.is_dir() else []
    return [Layer("root", skeleton, ""), *(_layer(path, None if shared is None else skeleton) for path in own)]


def _layer(path: Path, skeleton: Path | None) -> Layer:
    name, target = "-".join(path.parts[1:]), str(path)[1:]
    return Layer(name, path, target) if skeleton is None else Layer(name, skeleton / target, target, beneath=path)


def _place() -> Path:
    """Of a node manager that is not root, below its user's home, whatever `HOME` says."""
    user = ownids.outside()
    if user is None:
        return BASES
    with contextlib.suppress(KeyError):
        return Path(pwd.getpwuid(user).pw_dir, ".local/share/dslice/bases")
    return Path.home() / ".local/share/dslice/bases"


def use(layers: Sequence[Layer]) -> None:
    """A sliver stands on it from now on."""
    os.utime(layers[0].source)


def _remove_unused(bases: Path, skeleton: Path) -> None:
    """Those whose time, which `use` sets, is from before this boot."""
    os.utime(skeleton)
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for path in bases.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < boot - _CLOCK_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _fingerprint() -> str:
    """Of all that `_build` reads."""
    seen = hashlib.sha256(str(_VERSION).encode())
    paths = ["/etc/passwd", "/etc/group", "/var/lib/dpkg/status", *(f"/etc/{name}" for name in _COPIED)]
    trees = [f"/etc/{name}" for name in (*_COPIED_TREES, *(f"apt/{name}" for name in _APT))]
    for path in (*paths, *trees, *(os.path.join(tree, name) for tree in trees for name in _names(tree))):
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            seen.update(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_mode}\n".encode())
    return seen.hexdigest()[:24]


def _names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _make_folders(root: Path) -> None:
    for name, mode in {"": 0o755, **_FOLDERS}.items():
        for path in (*reversed(Path(name).parents), Path(name)):
            if not (root / path).exists():
                (root / path).mkdir()
                (root / path).chmod(0o755)
        (root / name).chmod(mode)


def _make_package_folders(root: Path) -> None:
    """Those that packages bring below /etc and /var (for logs, spools, states), with the modes of here, and empty."""
    listed: set[str] = set()
    for path in (_DPKG / "info").glob("*.list"):
        lines = path.read_text(errors="replace").splitlines()
        listed.update(line for line in lines if line.startswith(("/etc/", "/var/")))
    for name in sorted(listed):
        place = root / name[1:]
        with contextlib.suppress(OSError):
            status = os.lstat(name)
            if stat.S_ISDIR(status.st_mode) and not place.exists() and not os.path.islink(place):
                place.mkdir()  # those around it are listed, too
                owners = (status.st_uid, status.st_gid)  # a number above the system's means nobody there
                os.chown(place, *(each if each < _PEOPLE.start else 0 for each in owners))
                place.chmod(stat.S_IMODE(status.st_mode))


def _build(root: Path) -> None:
    _make_folders(root)
    _make_package_folders(root)
    for name in TOP_LEVEL:
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            (root / name).mkdir()
            (root / name).chmod(0o755)
    etc = root / "etc"
    for path in _untouched_conffiles():
        _copy(path, root / path.relative_to("/"))
    for name in _COPIED:
        _copy(Path("/etc", name), etc / name)
    for name in (*_COPIED_TREES, *(f"apt/{name}" for name in _APT)):
        _copy_public(Path("/etc", name), etc / name)
    _write_texts(etc)
    for name, target in _LINKS.items():
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)


def _write_texts(etc: Path) -> None:
    texts = dict(_TEXTS)
    system = Path("/usr/share/base-files/profile")
    texts["profile"] = system.read_text() if system.is_file() else _PROFILE
    if not (etc / "ssh/ssh_config").exists():
        texts["ssh/ssh_config"] = "Include /etc/ssh/ssh_config.d/*.conf\n"
    users, groups = _system_entries("passwd"), _system_entries("group")
    texts["passwd"] = "".join(":".join([name, "x", *rest]) + "\n" for name, _, *rest in users)
    texts["group"] = "".join(f"{name}:x:{number}:\n" for name, _, number, *_ in groups)
    secret = {
        "shadow": "".join(f"{name}:*:19000:0:99999:7:::\n" for name, *_ in users),
        "gshadow": "".join(f"{name}:*::\n" for name, *_ in groups),
    }
    shadow = next((int(number) for name, _, number, *_ in groups if name == "shadow"), 0)
    for name, text in texts.items():
        replace_file(etc / name, text.encode(), 0o644, durable=False)
    for name, text in secret.items():
        replace_file(etc / name, text.encode(), 0o640, durable=False)
        os.chown(etc / name, 0, shadow)
    localtime = os.path.realpath("/etc/localtime")
    if localtime.startswith("/usr/"):
        (etc / "localtime").symlink_to(localtime)


def _system_entries(name: str) -> list[list[str]]:
    """The system's own users or groups: files of its packages belong to them. Not its people, nor who is in what."""
    lines = [line.split(":") for line in Path("/etc", name).read_text(errors="replace").splitlines()]
    entries = [words for words in lines if len(words) > 3 and words[2].isdigit() and int(words[2]) < 65535]
    found = [words for words in entries if int(words[2]) not in _PEOPLE]
    if name == "passwd":
        found = [["root", "x", "0", "0", "root", "/root", "/bin/bash"], *(words for words in found if words[2] != "0")]
    return found


def _untouched_conffiles() -> Iterator[Path]:
    """Configuration files that are as their packages brought them (deb-conffiles(5)): so nothing of this node's is in
    them."""
    listed = False
    with contextlib.suppress(FileNotFoundError), (_DPKG / "status").open(errors="replace") as status:
        for line in status:
            listed = line.startswith("Conffiles:") or (listed and line.startswith(" "))
            if listed and line.startswith(" /etc/"):
                path, digest = line.split()[:2]
                with contextlib.suppress(OSError):
                    if hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest() == digest:
                        yield Path(path)


def _copy_public(source: Path, target: Path) -> None:
    """Copy a file or a tree of them: links, and what everybody may read and holds no password."""
    if source.is_symlink() or not source.is_dir():
        with contextlib.suppress(FileNotFoundError):
            status = source.lstat()
            readable = stat.S_ISREG(status.st_mode) and status.st_mode & 0o004
            if stat.S_ISLNK(status.st_mode) or (readable and not _CREDENTIALS.search(source.read_bytes())):
                _copy(source, target)
        return
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o755)
    for name in os.listdir(source):
        _copy_public(source / name, target / name)


def _copy(source: Path, target: Path) -> None:
    """One file or link, of root; nothing when it is not there. Folders on the way get the modes that they have here."""
    if not source.exists() and not source.is_symlink():
        return
    for folder in reversed(target.parents[: len(source.parents) - 1]):
        if not folder.exists():
            folder.mkdir()
            place = source.parents[target.parents.index(folder)]
            folder.chmod(stat.S_IMODE(place.stat().st_mode) & 0o755)
    target.unlink(missing_ok=True)
    shutil.copy(source, target, follow_symlinks=False)
