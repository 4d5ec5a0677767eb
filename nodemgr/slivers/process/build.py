"""A program by itself: it builds what a sliver of the driver `unshare` sees, in one process (mount(8) for each of sixty
mounts took 0.2 s), and becomes the sliver's first.

It is given to the host's Python as text and runs as the first process of new namespaces, with the rights of their
owner, before anybody can enter; what fails here ends the sliver's start. It knows nothing of dslice.

Arguments: the folder to build the new root in, the hostname, bytes of /dev/shm, then for each entry a word (ro, rw,
tmpfs, link) and its own words, then --, `close` or `open`, and the command. `close`: the root is read-only, and the
command has no rights.
"""

import ctypes
import os
import sys

_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _RECURSIVE, _DETACH = 0x20, 0x1000, 0x4000, 2  # of mount(2), and of umount2(2)
_LOCKED = {"ro": _RDONLY, "nosuid": _NOSUID, "nodev": _NODEV, "noexec": _NOEXEC, "nosymfollow": 256}
_IGNORED = (13, 25)  # SIGPIPE and SIGXFSZ, by Python; a program would inherit that
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_CLOSE = ("/usr/bin/setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--")

_libc = ctypes.CDLL(None, use_errno=True)


def main(new: str, hostname: str, shm_bytes: str, *words: str) -> None:
    """Never comes back. OSError."""
    name = hostname.encode()
    _check(_libc.sethostname(name, ctypes.c_size_t(len(name))), hostname)
    with open(3, "w", encoding="ascii") as told:  # the pid that the host knows is the one in its /proc, still in sight
        told.write(f'{{"child-pid": {os.readlink("/proc/self")}}}\n')
    _mount("sliver", new, "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")
    for folder in ("proc", "dev", ".old"):
        os.mkdir(f"{new}/{folder}")
    _mount("proc", f"{new}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    _bind(f"{new}/proc/sys", f"{new}/proc/sys", _RDONLY)
    at = words.index("--")
    _entries(new, list(words[:at]))
    _devices(f"{new}/dev", shm_bytes)
    _enter(new)
    kind, *command = words[at + 1 :]
    if kind == "close":
        _mount("none", "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
        command = [*_CLOSE, *command]
    for signal in _IGNORED:
        _libc.signal(signal, None)
    os.execvp(command[0], command)  # noqa: S606 - no shell is needed


def _entries(new: str, words: list[str]) -> None:
    while words:
        kind = words.pop(0)
        first, second = words.pop(0), words.pop(0)
        if kind == "link":
            os.symlink(first, new + second)
        elif kind == "tmpfs":
            os.makedirs(new + first, exist_ok=True)
            _mount("tmpfs", new + first, "tmpfs", _NOSUID | _NODEV, f"size={second},mode={words.pop(0)}")
        else:
            if not os.path.isfile(first):
                os.makedirs(new + second, exist_ok=True)
            _bind(first, new + second, _NOSUID | _NODEV | (_RDONLY if kind == "ro" else 0))


def _devices(dev: str, shm_bytes: str) -> None:
    _mount("dev", dev, "tmpfs", _NOSUID | _NOEXEC, "mode=755,size=64k")
    for name in _DEVICES:
        os.close(os.open(f"{dev}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        _bind(f"/dev/{name}", f"{dev}/{name}", _NOSUID | _NOEXEC)
    for folder in ("pts", "shm"):
        os.mkdir(f"{dev}/{folder}")
    _mount("devpts", f"{dev}/pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    _mount("shm", f"{dev}/shm", "tmpfs", _NOSUID | _NODEV, f"mode=1777,size={shm_bytes}")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.symlink("/proc/self/fd", f"{dev}/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")


def _enter(new: str) -> None:
    """Have everything else out of sight. The C library has no pivot_root(2)."""
    os.chdir(new)
    status = os.spawnlp(os.P_WAIT, "pivot_root", "pivot_root", ".", ".old")  # noqa: S606 - no shell is needed
    if status != 0:
        sys.exit(f"pivot_root: exit status {status}")
    os.chdir("/")
    _check(_libc.umount2(b"/.old", _DETACH), "/.old")
    os.rmdir("/.old")
    _mount("none", "/dev", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NOEXEC)


def _bind(source: str, target: str, flags: int) -> None:
    """With what is mounted below it; each gets the flags beside its own, which are locked if they are the host's."""
    _mount(source, target, None, _BIND | _RECURSIVE)
    with open("/proc/self/mountinfo", "rb") as mounts:
        there = [(_plain(words[4]), words[5].decode().split(",")) for words in map(bytes.split, mounts)]
    for point, options in there:
        if point == target or point.startswith(f"{target}/"):
            own = sum(flag for option, flag in _LOCKED.items() if option in options)
            _mount("none", point, None, _REMOUNT | _BIND | flags | own)


def _plain(escaped: bytes) -> str:
    """A path as it is, for one whose blanks and backslashes are written as octal numbers (proc(5))."""
    first, *rest = escaped.split(b"\\")
    return os.fsdecode(first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest))


def _mount(source: str, target: str, kind: "str | None", flags: int, options: str = "") -> None:
    words = [os.fsencode(word) if word is not None else None for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options)), target)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
