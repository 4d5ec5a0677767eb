"""SSH public keys as users give them: in files, or themselves."""

import sys
from collections.abc import Iterable
from pathlib import Path

from trust.errors import Code, Refusal

_TYPES = ("ssh-", "ecdsa-", "sk-")


def key_lines(given: Iterable[str]) -> tuple[str, ...]:
    """Each key of these files, or keys themselves, as one clean line, once. Raises Refusal(BAD_INPUT)."""
    found: list[str] = []
    for each in given:
        if is_key(each):
            from trust.keyfiles import parse_public_keys

            found += [key.line for key in parse_public_keys(each.encode())]
        else:
            found += read_keys(str(Path(each).expanduser()))
    return tuple(dict.fromkeys(found))


def is_key(text: str) -> bool:
    """Whether it is no file's name."""
    return text.startswith(_TYPES) and " " in text


def blob(line: str) -> str:
    """What tells keys apart, without their comments."""
    return line.split()[1]


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
