"""The filter of system calls: its numbers are the kernel's, and each answer is what it says."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from nodemgr.slivers.limits.seccomp import (
    CLOSER,
    FORBIDDEN,
    MACHINES,
    MISSING,
    MOUNTS,
    available,
    load,
    profile,
    program,
    under,
)

T = TypeVar("T")
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"__NR_(\w+)\s+(\d+)"),
    "aarch64": ("/usr/include/asm-generic/unistd.h", r"__NR(?:3264)?_(\w+)\s+(\d+)"),
}
here = MACHINES.get(platform.machine())
needs_numbers = pytest.mark.skipif(here is None, reason=f"the calls of {platform.machine()} are not listed")

# Calls getpid as a 32-bit program would, from machine code, under the filter or not.
AS_I386 = """
import ctypes, mmap, sys
from nodemgr.slivers.limits.seccomp import load, program
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
if sys.argv[1] == "filtered":
    load(program())
print(call())
"""


def filtered(work: Callable[[], T], *, user_namespaces: bool = False) -> T:
    """What `work` gives in a thread of its own, under the filter."""
    found: list[T] = []

    def run() -> None:
        load(program(user_namespaces=user_namespaces))
        found.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def call(number: int, *arguments: int) -> int:
    """The error of a system call; all arguments are -1, with which none of them does anything."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(each) for each in (*arguments, *[-1] * (5 - len(arguments)))]
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *given) < 0 else 0


def numbers(calls: dict[str, tuple[int | None, int | None]]) -> dict[str, int]:
    assert here is not None
    return {name: number for name, both in calls.items() if (number := both[here.column]) is not None}


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_kernel_s(machine: str) -> None:
    path, line = HEADERS[machine]
    if not Path(path).exists():
        pytest.skip(f"no {path} here (Debian: linux-libc-dev)")
    known = {name: int(number) for name, number in re.findall(line, Path(path).read_text())}
    for name, both in {**MISSING, **FORBIDDEN, **CLOSER}.items():
        assert both[MACHINES[machine].column] == known.get(name), name


@needs_numbers
def test_what_is_listed_is_denied() -> None:
    missing = filtered(lambda: {name: call(number) for name, number in numbers(MISSING).items()})
    assert set(missing.values()) == {errno.ENOSYS}, missing
    forbidden = filtered(lambda: {name: call(number) for name, number in numbers(FORBIDDEN).items()})
    assert set(forbidden.values()) == {errno.EPERM}, forbidden
    for name in ("add_key", "request_key", "keyctl"):  # with no filter they answer otherwise
        assert call(numbers(MISSING)[name]) not in (errno.ENOSYS, 0)


@needs_numbers
def test_new_user_namespaces_unless_they_are_allowed() -> None:
    assert here is not None
    new_user, new_uts = 0x1000_0000, 0x0400_0000
    clone, clone3, unshare = (CLOSER[name][here.column] for name in ("clone", "clone3", "unshare"))
    work = lambda: (call(unshare, new_user | new_uts), call(clone, new_user, 0, 0, 0, 0), call(clone3, 0, 0))  # noqa: E731
    assert filtered(work) == (errno.EPERM, errno.EPERM, errno.ENOSYS)
    assert filtered(lambda: call(unshare, 0)) == 0
    thread_cannot, no_arguments = errno.EINVAL, errno.EINVAL  # a thread of several makes no user namespace
    assert filtered(lambda: call(unshare, new_user), user_namespaces=True) == thread_cannot
    assert filtered(lambda: call(clone3, 0, 0), user_namespaces=True) == no_arguments


@needs_numbers
def test_sockets_by_family_and_protocol() -> None:
    def denied(*kind: int) -> int:
        try:
            socket.socket(*kind).close()
        except OSError as error:
            return error.errno or 0
        return 0

    assert filtered(lambda: denied(socket.AF_VSOCK, socket.SOCK_STREAM)) == errno.EAFNOSUPPORT
    assert filtered(lambda: denied(socket.AF_ALG, socket.SOCK_SEQPACKET)) == errno.EAFNOSUPPORT
    assert filtered(lambda: denied(socket.AF_NETLINK, socket.SOCK_RAW, 9)) == errno.EPROTONOSUPPORT
    ordinary = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK)
    assert filtered(lambda: [denied(family, socket.SOCK_DGRAM) for family in ordinary]) == [0] * 4


@pytest.mark.skipif(platform.machine() != "x86_64", reason="32-bit calls of this kind are x86_64's")
def test_calls_in_another_machine_s_numbers_are_not_there() -> None:
    def says(how: str) -> str:
        return subprocess.run([sys.executable, "-c", AS_I386, how], capture_output=True, text=True, check=False).stdout

    plain = says("plain")
    if not plain or int(plain) < 0:
        pytest.skip("this kernel runs no 32-bit programs")
    assert says("filtered") == f"{-errno.ENOSYS}\n"
    assert filtered(lambda: call(0x4000_0000 | 39)) == errno.ENOSYS  # x32


@needs_numbers
def test_what_is_started_under_it_stays_under_it() -> None:
    def start() -> int:
        return os.posix_spawn("/bin/sh", ["sh", "-c", "exec grep -q '^Seccomp:.*2' /proc/self/status"], {})

    assert os.waitpid(under(available(), start), 0)[1] == 0
    assert os.waitpid(under(b"", start), 0)[1] != 0
    assert "Seccomp:\t0\n" in Path("/proc/thread-self/status").read_text()  # not us


def test_an_unlisted_machine_has_none() -> None:
    assert program(machine="s390x") == b""
    assert len(program(machine="aarch64")) % 8 == 0


def test_what_the_kernel_does_not_take_is_said() -> None:
    def attempt() -> str:
        with pytest.raises(OSError, match="takes no seccomp filter") as refused:
            load(b"no filter")
        return str(refused.value)

    assert "Invalid argument" in filtered(attempt)


def test_a_container_runtime_gets_the_same_list() -> None:
    """That it does the same is for the escapes of tests/integration/slivers."""

    def denied(**kind: bool) -> set[str]:
        rules = profile(**kind)["syscalls"]
        assert {rule["action"] for rule in rules} == {"SCMP_ACT_ERRNO"}
        return {name for rule in rules for name in rule["names"]}

    assert denied(mounts=False) == {*MISSING, *FORBIDDEN, *MOUNTS, *CLOSER}
    assert denied() == {*MISSING, *FORBIDDEN, *CLOSER}
    assert denied(user_namespaces=True) == {*MISSING, *FORBIDDEN, "socket"}
