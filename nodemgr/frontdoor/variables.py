"""Which variables of a client's environment (RFC 4254, 6.4) reach its session.

Programs of the node, outside the sliver, start with them too: so those that steer a loader, a shell or an interpreter
are never taken, whatever the operator allows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

USUAL = ("LANG", "LC_*", "COLORTERM", "TERM", "GIT_PROTOCOL")
_NEVER = (
    *("LD_*", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "IFS", "ENV", "BASH*", "SHELLOPTS", "PS4", "TAR_OPTIONS"),
    *("GLIBC_*", "GCONV_PATH", "LOCPATH", "NLSPATH", "MALLOC_*", "RES_OPTIONS", "HOSTALIASES", "LOCALDOMAIN"),
    *("SSH_*", "DSLICE_*", "PYTHON*", "PERL*", "GO*", "_*"),
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MAX_VARIABLES = 64
MAX_VALUE = 4096  # bytes


def accepted(patterns: Sequence[str], name: str, value: bytes) -> bool:
    """Whether a session gets the variable: one of the usual ones, or one that `patterns` (with *) of the operator
    name, and never one that would change which program runs."""
    if not _NAME.fullmatch(name) or len(value) > MAX_VALUE or b"\0" in value:
        return False
    return _among((*USUAL, *patterns), name) and not _among(_NEVER, name)


def _among(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
