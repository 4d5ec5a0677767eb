"""The filter of system calls inside: sessions are under it, and so is the first process."""

from __future__ import annotations

import errno
import platform

import pytest

from nodemgr.slivers.limits.seccomp import FORBIDDEN, MACHINES, MISSING, program
from tests.integration.slivers.conftest import Node

pytestmark = pytest.mark.skipif(not program(), reason="the system calls of this machine are not listed")

# Prints the error of each call of which it is given the number; all arguments are -1.
PROBE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in sys.argv[1:]:
    libc.syscall(ctypes.c_long(int(number)), *[ctypes.c_long(-1)] * 5)
    print(ctypes.get_errno())
"""


def test_calls_are_denied_in_a_session_and_in_what_it_leaves_behind(node: Node) -> None:
    node.make("ocean")
    column = MACHINES[platform.machine()].column
    for calls, answer in ((MISSING, errno.ENOSYS), (FORBIDDEN, errno.EPERM)):
        numbers = " ".join(str(both[column]) for both in calls.values() if both[column] is not None)
        said = node.says("ocean", f"python3 -c '{PROBE}' {numbers}")
        assert set(said.split()) == {str(answer)}
    node.says("ocean", "(setsid sh -c 'grep Seccomp: /proc/self/status > ~/left') & wait")
    assert node.says("ocean", "cat ~/left") == "Seccomp:\t2"


def test_the_first_process_is_under_it_too(node: Node) -> None:
    node.make("ocean")
    assert "Seccomp:\t2" in node.says("ocean", "cat /proc/1/status")
    assert node.run("ocean", "unshare --user true").returncode != 0
