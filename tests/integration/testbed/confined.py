"""Runs a command under the filters of a systemd unit, as far as a process can set them by itself.

`python confined.py UNIT COMMAND…`: its system calls (libseccomp), no new privileges, no memory that is written and run.
"""

import ctypes
import ctypes.util
import os
import re
import subprocess
import sys
from pathlib import Path

NO_NEW_PRIVILEGES, DENY_WRITE_EXECUTE = 38, 65  # prctl(2)
ALLOW, ERRNO_EPERM = 0x7FFF0000, 0x00050001  # seccomp(3)


def lacking() -> str | None:
    """What this machine does not have for it."""
    if ctypes.util.find_library("seccomp") is None:
        return "libseccomp"
    return None if any(Path(folder, "systemd-analyze").exists() for folder in os.get_exec_path()) else "systemd-analyze"


def expanded(name: str) -> set[str]:
    """System calls of one of systemd's sets, or the call itself."""
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in shown.stdout.splitlines()[1:]]
    return {call for line in lines if line and not line.startswith("#") for call in expanded(line)}


def allowed(unit: Path) -> set[str]:
    """What the unit's SystemCallFilter= lines leave, in their order."""
    found: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", unit.read_text(), re.MULTILINE):
        named = {call for word in line.removeprefix("~").split() for call in expanded(word)}
        found = found - named if line.startswith("~") else found | named
    return found


def confine(unit: Path) -> None:
    seccomp, libc = ctypes.CDLL("libseccomp.so.2"), ctypes.CDLL(None)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ERRNO_EPERM))
    for name in allowed(unit):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            seccomp.seccomp_rule_add(context, ALLOW, number, 0)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(DENY_WRITE_EXECUTE, 1, 0, 0, 0)  # Linux 6.3; older ones refuse, and the command runs without
    if seccomp.seccomp_load(context):
        sys.exit("the filter could not be loaded")


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
