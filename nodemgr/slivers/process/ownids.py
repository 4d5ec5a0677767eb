"""A node manager that is not root, and the ids that the machine's administrator lets its user give away (subuid(5)).

With them it makes itself root of a user namespace of its own: 0 is its user, 1 to 65,536 are the subordinate ids. What
it starts from then on is in that namespace, too. There it may do what root does for slivers: give files to others,
mount, and map ids into the namespaces of slivers. Nothing of it is a right over the host.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import pwd
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from nodemgr.slivers.process import mounts
from nodemgr.slivers.process.launch import program
from nodemgr.slivers.process.spawn import HELPER_ENVIRONMENT
from trust.errors import Code, Refusal

IDS = 1 << 16
_POWERLESS = "this machine lets the root of a user's own namespace do nothing"
_UBUNTU = "on Ubuntu, as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
_ETC = Path("/etc")
_NEW_USER = 0x1000_0000  # linux/sched.h
_NS_GET_PARENT, _NS_GET_OWNER_UID = 0xB702, 0xB704  # linux/nsfs.h
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
# Waits until the namespace is there, and then fills in its maps: newuidmap(1) is setuid root.
_MAP = 'read -r _ && newuidmap "$1" 0 "$2" 1 1 "$3" "$6" && newgidmap "$1" 0 "$4" 1 1 "$5" "$6"'


@functools.cache
def outside() -> int | None:
    """The host's number of this node manager's user, if `enter` made it root of a namespace of its own; else None."""
    text = Path("/proc/self/uid_map").read_text(encoding="ascii")
    lines = [tuple(map(int, line.split())) for line in text.splitlines()]
    if len(lines) != 2 or lines[1][::2] != (1, IDS):
        return None
    inside, user, number = lines[0]
    return user if (inside, number) == (0, 1) and user else None


def enter(slivers: Iterable[int] = ()) -> None:
    """Become root of such a namespace; on the main thread, before there are others.

    Args:
        slivers: processes of an earlier node manager's slivers. They can be entered and ended from that one's namespace
            alone, which is there as long as one of them is: so it is entered again.

    Raises:
        Refusal: INTERNAL, with what this machine lacks for it; nothing has changed then.
    """
    if not any(map(_enter_again, slivers)):
        numbers = available()
        _try(numbers)
        _enter(numbers)
    outside.cache_clear()


def available() -> tuple[int, ...]:
    """The user, the first of its subordinate users, its group, the first of its subordinate groups, how many of both.

    Refusal(INTERNAL) when there are none, or nothing can map them.
    """
    uid, gid = os.geteuid(), os.getegid()
    for tool in ("newuidmap", "newgidmap"):
        program(tool)
    return uid, _first("subuid", uid), gid, _first("subgid", uid), IDS


def _first(name: str, uid: int) -> int:
    """The first id of a range of at least 65,536 that this user has in /etc/subuid or /etc/subgid."""
    names = {str(uid)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    path = _ETC / name
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for user, first, number in (words for line in lines if len(words := line.split(":")) == 3):
        if user in names and first.isdigit() and number.isdigit() and int(number) >= IDS:
            return int(first)
    raise Refusal(
        Code.INTERNAL,
        f"{path} gives user {uid} no range of {IDS:,} ids; as root, unless they are somebody's: "
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
    )


def _try(numbers: tuple[int, ...]) -> None:
    """Do it, and a first mount, in a child: there is no way back out of a namespace that could not be mapped."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            _enter(numbers)
            mounts.apart(lambda _: None)
        except Refusal as refusal:
            os.write(write, refusal.reason.encode())
        except OSError as error:
            os.write(write, f"{_POWERLESS}: {error}; {_UBUNTU}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        reason = told.read()
    os.waitpid(child, 0)
    if reason:
        raise Refusal(Code.INTERNAL, reason)


def _enter_again(sliver: int) -> bool:
    """Enter the namespace in which that of a sliver was made, if this user made both; whether it was."""
    with ExitStack() as opened, contextlib.suppress(OSError):
        own = os.open(f"/proc/{sliver}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, own)
        around = fcntl.ioctl(own, _NS_GET_PARENT)
        opened.callback(os.close, around)
        (maker,) = struct.unpack("I", fcntl.ioctl(around, _NS_GET_OWNER_UID, bytes(4)))
        if maker == os.geteuid():
            with _as_root():
                return bool(ctypes.CDLL(None).setns(around, _NEW_USER) == 0)
    return False


@contextlib.contextmanager
def _as_root() -> Iterator[None]:
    """Be root once another namespace is entered; the signal for the parent's death, which is lost with that, stays."""
    libc, death = ctypes.CDLL(None), ctypes.c_int()
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(death))
    yield
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, death.value)


def _enter(numbers: tuple[int, ...]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    helper = subprocess.Popen(
        ["/bin/sh", "-c", _MAP, "sh", *map(str, (os.getpid(), *numbers))],
        env=HELPER_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with _as_root():
        failed = libc.unshare(_NEW_USER)
        why = os.strerror(ctypes.get_errno())
        _, said = helper.communicate(b"" if failed else b"\n")
        if failed:
            raise Refusal(Code.INTERNAL, f"this machine lets its users make no user namespaces: {why}")
        if helper.returncode:
            words = said.decode(errors="replace").strip()[-200:]
            raise Refusal(Code.INTERNAL, f"this user's subordinate ids cannot be used: {words}")
