"""System calls that nobody in a sliver may make (seccomp(2)): parts of the kernel that break often, and that ordinary
work does not meet.

The list follows podman's default, turned round: what is not named is allowed, so that a new kernel's calls work. Where
programs know how to go on without a call they are told that there is none (ENOSYS), else that it is not permitted.

    spawn(argv, environment, descriptors, filter=available())

`bwrap --seccomp FD` takes the same bytes.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import os
import platform
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

# Each call's number on x86_64 and on aarch64 (asm/unistd_64.h, asm-generic/unistd.h); None where it is not there.
MISSING: dict[str, tuple[int | None, int | None]] = {
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "create_module": (174, None),
    "query_module": (178, None),
    "sysfs": (139, None),
    "ustat": (136, None),
    "uselib": (134, None),
}
FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "iopl": (172, None),
    "ioperm": (173, None),
}
# Where root inside has a root file system that the node manager mounted for it.
MOUNTS: dict[str, tuple[int | None, int | None]] = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
}
# Looked at more closely.
CLOSER = {"clone": (56, 220), "clone3": (435, 435), "unshare": (272, 97), "socket": (41, 198)}

_NEW_USER = 0x1000_0000
_NEW_ANY = 0x7E02_0000  # a namespace of any kind
_NETLINK_AUDIT = 9
_X32 = 0x4000_0000

# linux/bpf_common.h, linux/filter.h, linux/seccomp.h
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF_0000, 0x0005_0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_STATEMENT = struct.Struct("=HBBI")
_PR_SET_SECCOMP, _FILTER_MODE, _PR_SET_NO_NEW_PRIVS = 22, 2, 38

_Statement = tuple[int, int, int, int]  # code, how many to skip where it holds, and where not, operand


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor as the kernel names it (AUDIT_ARCH_…), and its place in the tables."""

    architecture: int
    column: int


MACHINES = {"x86_64": Machine(0xC000_003E, 0), "aarch64": Machine(0xC000_00B7, 1)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("statements", ctypes.c_char_p))


def program(*, user_namespaces: bool = False, mounts: bool = True, machine: str | None = None) -> bytes:
    """The filter (struct sock_filter[]); empty for a machine whose calls are not listed here.

    Args:
        user_namespaces: whether new ones may be made.
        mounts: whether there may be mounts and namespaces of the other kinds.
        machine: as uname(2) says it; this one.
    """
    found = MACHINES.get(machine or platform.machine())
    if found is None or struct.calcsize("P") != 8:
        return b""
    return b"".join(_STATEMENT.pack(*each) for each in _statements(found, user_namespaces, mounts))


def profile(*, user_namespaces: bool = False, mounts: bool = True) -> dict[str, Any]:
    """The same as container runtimes take it (OCI runtime specification, "Seccomp"), who know each machine's numbers. A
    program for another machine is ended."""
    forbidden = FORBIDDEN if mounts else FORBIDDEN | MOUNTS
    rules = [_rule(MISSING, errno.ENOSYS), _rule(forbidden, errno.EPERM)]
    namespaces = (0 if user_namespaces else _NEW_USER) | (0 if mounts else _NEW_ANY)
    if namespaces:
        rules.append(_rule(["clone3"], errno.ENOSYS))
    for bit in (1 << number for number in range(32) if namespaces >> number & 1):
        rules.append(_rule(["clone", "unshare"], errno.EPERM, (0, "SCMP_CMP_MASKED_EQ", bit, bit)))
    for family in (socket.AF_VSOCK, socket.AF_ALG):
        rules.append(_rule(["socket"], errno.EAFNOSUPPORT, (0, "SCMP_CMP_EQ", family, 0)))
    audit = ((0, "SCMP_CMP_EQ", socket.AF_NETLINK, 0), (2, "SCMP_CMP_EQ", _NETLINK_AUDIT, 0))
    rules.append(_rule(["socket"], errno.EPROTONOSUPPORT, *audit))
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


def _rule(names: Iterable[str], answer: int, *arguments: tuple[int, str, int, int]) -> dict[str, Any]:
    """`arguments`: which one, how it is compared, and with what two numbers."""
    words = ("index", "op", "value", "valueTwo")
    found = [dict(zip(words, each, strict=True)) for each in arguments]
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": answer, "args": found}


def available(*, user_namespaces: bool = False, mounts: bool = True) -> bytes:
    """The same if this kernel takes it. Else it is empty, and the log says so."""
    wanted = program(user_namespaces=user_namespaces, mounts=mounts)
    refused: list[OSError] = []

    def attempt() -> None:
        try:
            load(wanted)
        except OSError as error:
            refused.append(error)

    if wanted:
        thread = threading.Thread(target=attempt, name="seccomp-try")
        thread.start()
        thread.join()
    if not wanted or refused:
        why = refused[0].strerror if refused else f"the calls of {platform.machine()} are not listed"
        log.warning("slivers may make every system call, for there is no seccomp filter: %s", why)
        return b""
    return wanted


def load(filter: bytes) -> None:
    """Put this very thread under the filter, and all that it starts. There is no way back.

    Who is not root gives up, with it, to gain rights by setuid programs. OSError where the kernel has no filters.
    """
    wanted = ctypes.byref(_Program(len(filter) // _STATEMENT.size, filter))
    number = _prctl(_PR_SET_SECCOMP, _FILTER_MODE, wanted)
    if number == errno.EACCES:
        number = _prctl(_PR_SET_NO_NEW_PRIVS, 1, None) or _prctl(_PR_SET_SECCOMP, _FILTER_MODE, wanted)
    if number:
        raise OSError(number, f"the kernel takes no seccomp filter ({os.strerror(number)})")


def _prctl(option: int, value: int, pointer: object) -> int:
    """0, or the number of the error."""
    libc, none = ctypes.CDLL(None, use_errno=True), ctypes.c_ulong(0)
    failed = libc.prctl(option, ctypes.c_ulong(value), pointer or none, none, none)
    return ctypes.get_errno() if failed else 0


def under(filter: bytes, start: Callable[[], T]) -> T:
    """Call `start`, which starts a program, in a thread that is under the filter."""
    return _threads(filter).submit(start).result() if filter else start()


@functools.cache
def _threads(filter: bytes) -> ThreadPoolExecutor:
    """Kept, for to load a filter takes as long as to start a program."""
    return ThreadPoolExecutor(4, "filtered", initializer=load, initargs=(filter,))


def _statements(machine: Machine, user_namespaces: bool, mounts: bool) -> Iterator[_Statement]:
    missing = _error(errno.ENOSYS)
    yield _load(_ARCHITECTURE)
    yield from _unless(_IF_EQUAL, machine.architecture, missing)  # i386 and the like have numbers of their own
    yield _load(_NUMBER)
    yield from _when(_IF_AT_LEAST, _X32, missing)
    forbidden = FORBIDDEN if mounts else FORBIDDEN | MOUNTS
    for calls, answer in ((MISSING, missing), (forbidden, _error(errno.EPERM))):
        for numbers in calls.values():
            number = numbers[machine.column]
            if number is not None:
                yield from _when(_IF_EQUAL, number, answer)
    closer = {name: numbers[machine.column] for name, numbers in CLOSER.items()}
    namespaces = (0 if user_namespaces else _NEW_USER) | (0 if mounts else _NEW_ANY)
    if namespaces:
        yield from _when(_IF_EQUAL, closer["clone3"], missing)  # its flags are in memory, where no filter can look
        for name in ("clone", "unshare"):
            yield from _call(closer[name], [_argument(0), *_when(_IF_ANY_BIT, namespaces, _error(errno.EPERM))])
    yield from _call(closer["socket"], list(_sockets()))
    yield (_RETURN, 0, 0, _ALLOW)


def _sockets() -> Iterator[_Statement]:
    """Hypervisors' sockets, the kernel's ciphers, and netlink to the audit log, which belongs to the host."""
    yield _argument(0)
    for family in (socket.AF_VSOCK, socket.AF_ALG):
        yield from _when(_IF_EQUAL, family, _error(errno.EAFNOSUPPORT))
    audit = [_argument(2), *_when(_IF_EQUAL, _NETLINK_AUDIT, _error(errno.EPROTONOSUPPORT))]
    yield (_IF_EQUAL, 0, len(audit), socket.AF_NETLINK)
    yield from audit


def _call(number: int, block: list[_Statement]) -> Iterator[_Statement]:
    """For one call `block`, which may answer; it is allowed else."""
    yield (_IF_EQUAL, 0, len(block) + 1, number)
    yield from block
    yield (_RETURN, 0, 0, _ALLOW)


def _when(condition: int, operand: int, answer: _Statement) -> Iterator[_Statement]:
    yield (condition, 0, 1, operand)
    yield answer


def _unless(condition: int, operand: int, answer: _Statement) -> Iterator[_Statement]:
    yield (condition, 1, 0, operand)
    yield answer


def _load(offset: int) -> _Statement:
    return (_LOAD, 0, 0, offset)


def _argument(number: int) -> _Statement:
    """Its lower half, which is all that the kernel looks at in these."""
    return _load(_ARGUMENTS + 8 * number)


def _error(number: int) -> _Statement:
    return (_RETURN, 0, 0, _ERROR | number)
