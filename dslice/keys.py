"""Public keys as they are given to a slice, and the private key that goes with them."""

import os
from collections.abc import Iterable
from pathlib import Path

Keys = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Public keys: files, or the keys themselves, a line each."""


def key_lines(keys: Keys) -> tuple[str, ...]:
    """Each key as one clean line. Raises Refusal(BAD_INPUT)."""
    if not (given := _each(keys)):
        return ()
    from svm.keyfiles import key_lines

    return key_lines(given)


def identity_of(keys: Keys) -> str | None:
    """The private key beside the first file of public keys that has one."""
    for each in _each(keys):
        private = Path(each).expanduser().with_suffix("")
        if each.endswith(".pub") and private.is_file():
            return str(private)
    return None


def _each(keys: Keys) -> list[str]:
    given = [keys] if isinstance(keys, str | os.PathLike) else keys
    return [os.fspath(each) for each in given]
