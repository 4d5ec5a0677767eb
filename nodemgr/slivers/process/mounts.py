"""Mounts that one thread makes where nobody else sees them, by the kernel's calls (mount(2), open_tree(2),
mount_setattr(2), move_mount(2), openat2(2)); util-linux 2.38 has no option for mounts with shifted ids.

A thread's mount namespace is its own like its working and root folder (unshare(2), CLONE_FS): what it starts, inherits
them, and the other threads see nothing of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNS, _CLONE_FS = 0x20000, 0x200
NOSUID, NODEV, NOEXEC = 2, 4, 8  # of mount(2)
_REMOUNT_ALL_PRIVATE = 0x44000  # MS_REC | MS_PRIVATE
_DETACH = 2

# The same numbers on every machine.
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_TREE_CLONE = 1
_EMPTY_PATH, _RECURSIVE = 0x1000, 0x8000
_FROM_AND_TO_DESCRIPTOR = 0x44  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
_AT_CWD = -100
_IDMAP = 0x100000
RDONLY = 1  # of mount_setattr(2), whose other flags are as mount(2) has them
_IN_ROOT = 0x12  # RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS

_libc = ctypes.CDLL(None, use_errno=True)


def apart(work: Callable[[int], T]) -> T:
    """What `work` gives, run in a thread with mounts, a root and a working folder of its own; they go with it, and with
    the processes that it started. It is called with the root folder that everybody else has, open."""
    outcome: Future[T] = Future()
    host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def run() -> None:
        try:
            _check(_libc.unshare(_CLONE_FS | _CLONE_NEWNS), "unshare")
            mount("none", "/", None, _REMOUNT_ALL_PRIVATE)
            outcome.set_result(work(host))
        except BaseException as error:  # noqa: BLE001 raised again where it is waited for
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="sliver-mounts")
    thread.start()
    thread.join()
    os.close(host)
    return outcome.result()


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2). OSError."""
    words = [os.fsencode(word) if word is not None else None for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options)), target)


@contextlib.contextmanager
def tree(source: Path, flags: int, user_namespace: int | None = None, *, below: bool = False) -> Iterator[int]:
    """A mount of `source` that is nowhere yet.

    Args:
        source: a folder or a file.
        below: whether what is mounted below it is seen, too; who is not the host's root may not take that away.
        flags: RDONLY, NOSUID, NODEV, NOEXEC.
        user_namespace: by whose map the files' owners are shifted.

    Raises:
        OSError: EINVAL where this kernel or file system cannot shift.
    """
    flag = _TREE_CLONE | os.O_CLOEXEC | (_RECURSIVE if below else 0)
    found = _check(_libc.syscall(_OPEN_TREE, _AT_CWD, os.fsencode(source), flag), source)
    try:
        shifted = 0 if user_namespace is None else _IDMAP
        attributes = struct.pack("4Q", flags | shifted, 0, 0, user_namespace or 0)
        changed = _libc.syscall(_MOUNT_SETATTR, found, b"", _EMPTY_PATH, attributes, ctypes.c_size_t(len(attributes)))
        if changed < 0 and shifted and ctypes.get_errno() == errno.EINVAL:
            raise OSError(
                errno.EINVAL, "this kernel, or the file system there, cannot shift the ids of a mount", str(source)
            )
        _check(changed, source)
        yield found
    finally:
        os.close(found)


def attach(found: int, folder: int) -> None:
    """Mount what `tree` gave on a folder that is open."""
    _check(_libc.syscall(_MOVE_MOUNT, found, b"", folder, b"", _FROM_AND_TO_DESCRIPTOR), "move_mount")


def take_away(root: int, path: str) -> None:
    """Unmount what is mounted last at a place below `root`. OSError."""
    with within(root, path) as found:
        _check(_libc.umount2(os.fsencode(place(found)), _DETACH), path)


@contextlib.contextmanager
def within(root: int, path: str) -> Iterator[int]:
    """What is below `root`, open as a place only; a link on the way leads nowhere but below `root`. OSError."""
    how = struct.pack("3Q", os.O_PATH | os.O_CLOEXEC, 0, _IN_ROOT)
    opened = _libc.syscall(_OPENAT2, root, os.fsencode(path), how, ctypes.c_size_t(len(how)))
    found = _check(opened, path)
    try:
        yield found
    finally:
        os.close(found)


@contextlib.contextmanager
def folder(path: str) -> Iterator[int]:
    """A folder, open as a place only. OSError."""
    found = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield found
    finally:
        os.close(found)


def place(folder: int) -> str:
    """The path of an open folder for calls that take no descriptor."""
    return f"/proc/self/fd/{folder}"


def take_root(root: int, host: int) -> None:
    """Have this thread's mount namespace end at an open mount: nothing else is in it any more.

    The thread's own root stays the host's, which is in another namespace, and its working folder is the new root: what
    it starts finds programs in the one and mounts in the other.
    """
    os.fchdir(root)
    _check(_libc.syscall(_pivot_root_number(), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount")
    os.fchdir(host)
    os.chroot(".")
    os.fchdir(root)


def give_root(namespace: int, staging: str) -> None:
    """Have another mount namespace end at a copy of all that is mounted at and below this thread's working folder, also
    for whoever has its root folder as theirs. The thread is in that namespace afterwards, and of use for nothing else.

    Args:
        namespace: a descriptor of it.
        staging: a folder in it.
    """
    with tree(Path(), 0, below=True) as found:
        _check(_libc.setns(namespace, _CLONE_NEWNS), "setns")
        with folder(staging) as there:
            attach(found, there)
    os.chdir(staging)
    _check(_libc.syscall(_pivot_root_number(), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount")


def device(folder: int, name: str, major: int, minor: int, owner: int) -> None:
    """A character device that everybody may use."""
    os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=folder)
    os.chmod(f"{place(folder)}/{name}", 0o666)  # noqa: S103 as on every machine; the umask took it away
    os.chown(name, owner, owner, dir_fd=folder)


def _pivot_root_number() -> int:
    """The C library has no wrapper for it."""
    numbers = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
    machine = os.uname().machine
    if machine not in numbers:
        raise OSError(errno.ENOSYS, "the number of pivot_root is not known for this machine", machine)
    return numbers[machine]


def _check(result: int, what: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(what))
    return result
