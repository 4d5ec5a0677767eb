"""A base (`base`) where the node manager is not root, and the files of the node's root cannot be given to slivers: what
is shown to them belongs to nobody there. It can be read and run, replaced and removed, but not written to.

So what has to be root's is made anew in the base: all folders, empty, so that something can be put into each; the
programs with the rights of their owner or group, and what `sudo` wants to be root's; and dpkg's own files. The base is
the slivers' root's then, and the node's own files are seen where it has none. Before apt unpacks a new version of a
package, it has a script put copies of root's in the place of the files that are there of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from rpc.files import replace_file

_SETUID, _SETGID = stat.S_ISUID, stat.S_ISGID
# Seen from a user namespace all of them are nobody's; a program of another group loses its right.
_GROUPS = {
    "shadow": ("chage", "expiry", "unix_chkpwd"),
    "crontab": ("crontab",),
    "mail": ("dotlockfile", "mutt_dotlock"),
    "tty": ("wall", "write", "write.ul", "bsd-write"),
    "utmp": ("utempter",),
    "_ssh": ("ssh-agent",),
}
_SUDO = ("/usr/libexec/sudo", "/usr/lib/sudo")
# The node's own may be secret, and cannot be read.
_SUDOERS = "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n"
_OWN = "usr/local/lib/slice/own"
_OWN_TEXT = """\
#!/bin/sh
# dpkg keeps a second name of each file that it replaces, which nobody may make of a file that is not the sliver's own.
# So what the node has of packages that are to be unpacked now (apt.conf(5), Pre-Install-Pkgs) is copied first.
copy='for path; do cp --preserve=mode,timestamps "$path" "$path.own" && mv -f "$path.own" "$path"; done'
while read -r package; do
    dpkg --listfiles "$(dpkg-deb --field "$package" Package)"
done 2>/dev/null | tr '\\n' '\\0' |
    xargs -0 -r /bin/sh -c 'copy=$1; shift; find "$@" -maxdepth 0 -type f -uid 65534 -exec sh -c "$copy" sh {} +
        true' sh "$copy" 2>/dev/null
"""
_APT = {"etc/apt/apt.conf.d/00slice": f'DPkg::Pre-Install-Pkgs {{ "/{_OWN}"; }};\n', _OWN: _OWN_TEXT}


def complete(base: Path, folders: Sequence[Path], dpkg: Path, owner: int) -> None:
    """Add what `folders` of the node and `dpkg` need to a base that is being made, and give all of it away.

    Args:
        owner: the slivers' root; the others are the numbers after it.
    """
    groups = _groups(base / "etc/group")
    for folder in folders:
        for place, files in _tree(folder):
            _make_folder(place, base / place.relative_to("/"))
            for path in files:
                _copy(path, base / path.relative_to("/"), groups)
    for place, files in _tree(dpkg):
        _make_folder(place, base / place.relative_to("/"))
        for path in files:
            with contextlib.suppress(PermissionError):  # its locks
                shutil.copy(path, base / path.relative_to("/"), follow_symlinks=False)
    if os.path.exists("/usr/bin/sudo") and not (base / "etc/sudoers").exists():
        replace_file(base / "etc/sudoers", _SUDOERS.encode(), 0o440, durable=False)
    for name, text in _APT.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        replace_file(base / name, text.encode(), 0o755 if name == _OWN else 0o644, durable=False)
    _give(base, owner)


def _tree(top: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder from `top` on with its files; what may not be looked into counts as empty."""
    for place, _, names in os.walk(top):
        yield Path(place), [Path(place, name) for name in names]


def _make_folder(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    target.chmod(stat.S_IMODE(source.stat().st_mode) & ~_SETGID)


def _copy(source: Path, target: Path, groups: dict[str, int]) -> None:
    """What has to be root's, if it is that and can be read."""
    found = source.lstat()
    mode = stat.S_IMODE(found.st_mode)
    wanted = mode & (_SETUID | _SETGID) or str(source).startswith(_SUDO)
    if not wanted or not stat.S_ISREG(found.st_mode) or not os.access(source, os.R_OK):
        return
    shutil.copyfile(source, target)
    group = next((groups[name] for name, programs in _GROUPS.items() if name in groups and source.name in programs), 0)
    os.chown(target, 0, group)
    target.chmod(mode if group else mode & ~_SETGID)


def _groups(file: Path) -> dict[str, int]:
    lines = [line.split(":") for line in file.read_text().splitlines()]
    return {words[0]: int(words[2]) for words in lines}


def _give(base: Path, owner: int) -> None:
    for place, folders, files in os.walk(base, topdown=False):
        for path in (os.path.join(place, name) for name in (*folders, *files)):
            _give_one(path, owner)
    _give_one(str(base), owner)


def _give_one(path: str, owner: int) -> None:
    found = os.lstat(path)
    os.lchown(path, found.st_uid + owner, found.st_gid + owner)
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & (_SETUID | _SETGID):
        os.chmod(path, stat.S_IMODE(found.st_mode))  # which a new owner takes away
