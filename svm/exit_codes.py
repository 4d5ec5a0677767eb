"""Exit statuses of `svm` (docs/protocol.md, "The command line").

0 all done · 1 all failed or refused · 2 usage or bad input · 3 some nodes failed · 4 not authenticated or not allowed ·
5 a service cannot be reached · 130 Ctrl-C.
"""

from trust.errors import Code

DONE = 0
FAILED = 1
USAGE = 2
SOME_FAILED = 3
NOT_ALLOWED = 4
UNREACHABLE = 5
INTERRUPTED = 130

_BY_CODE = {
    Code.BAD_INPUT: USAGE,
    Code.NOT_AUTHENTICATED: NOT_ALLOWED,
    Code.NOT_ALLOWED: NOT_ALLOWED,
    Code.NOT_OWNER: NOT_ALLOWED,
    Code.REVOKED: NOT_ALLOWED,
    Code.UNREACHABLE: UNREACHABLE,
    Code.TIMEOUT: UNREACHABLE,
    Code.WRONG_CERTIFICATE: UNREACHABLE,
}


def status_of_refusal(code: Code) -> int:
    """The exit status when a whole command is refused with `code`."""
    return _BY_CODE.get(code, FAILED)


def status_of_nodes(ok: int, failed: int) -> int:
    """The exit status when nodes ended one by one."""
    if failed == 0:
        return DONE
    return SOME_FAILED if ok else FAILED
