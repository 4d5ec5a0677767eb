"""The kernel's session keyring, which every child inherits and may read: a login's may hold Kerberos tickets."""

from __future__ import annotations

import ctypes
import platform

_JOIN_SESSION_KEYRING = 1
# keyctl(2) has no wrapper in the C library.
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}


def leave_session_keyring() -> None:
    """Give this thread, and the threads and processes that it starts from now on, a new empty session keyring.

    Where the kernel has no keyrings, or forbids them (containers do), there is nothing to leave.
    """
    number = _KEYCTL.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _JOIN_SESSION_KEYRING, None)
