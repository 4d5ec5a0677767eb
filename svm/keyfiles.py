"""Files of SSH public keys, as users give them."""

import sys
from pathlib import Path

from trust.errors import Code, Refusal


def read_keys(path: str) -> tuple[str, ...]:
    """The public keys in the file, each as one clean line. Raises Refusal(BAD_INPUT)."""
    from trust.keyfiles import MAX_BYTES, parse_public_keys

    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        raise Refusal(Code.BAD_INPUT, f"{path}: cannot be read ({why}); give a .pub file") from None
    try:
        return tuple(key.line for key in parse_public_keys(data))
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{path}: {refusal.reason}") from None
