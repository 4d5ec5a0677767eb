"""How every program's standard streams are set up, before its first word: any encoding, and any end of them.

What the terminal's encoding lacks is written in plain letters; a stream that was closed takes everything and shows
nothing; stdout that cannot be written is one line on stderr; and a reader that has gone (`| head -1`) is no news.
"""

import codecs
import errno
import gc
import io
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn, TextIO

from svm.exit_codes import FAILED

GARBAGE = 100_000  # new objects between two looks for cycles; a command makes fewer, and a long one still looks
_PLAIN = {"→": "->", "·": "-", "…": "...", "–": "-", "—": "-", "’": "'"}


class OutputError(OSError):
    """stdout could not be written; whatever is written to it afterwards is dropped."""


def begin(program: str, run: Callable[[], int], *, short: bool = False) -> NoReturn:
    """Set the streams up, run the program, and end with its exit status.

    Args:
        short: a command somebody waits for, which leaves nothing to be done at its end: what it made is not taken
            apart piece by piece, neither in between nor at the end (ADR 57).
    """
    if short:
        gc.set_threshold(GARBAGE)
    _set_up()
    try:
        try:
            status = run()
        finally:
            sys.stdout.flush()
    except OutputError as error:
        if error.errno != errno.EPIPE:
            sys.stderr.write(f"{program}: cannot write the output: {os.strerror(error.errno or errno.EIO)}\n")
        status = FAILED
    if short and threading.active_count() == 1:
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _set_up() -> None:
    codecs.register_error("dslice", _in_plain_letters)
    for number in (0, 1, 2):  # else a file or a socket that is opened takes the number
        _occupy(number)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - until the end
    sys.stdout = _text(sys.stdout, _Output(1, "w", closefd=False))
    sys.stderr = _text(sys.stderr, _Errors(2, "w", closefd=False))


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # which gets the lowest number that is free


def _text(there: TextIO | None, raw: io.RawIOBase) -> io.TextIOWrapper:
    encoding = there.encoding if there is not None else "utf-8"
    if there is not None:
        there.flush()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="dslice", line_buffering=True)


class _Output(io.FileIO):
    """The descriptor of stdout; its first failure is an OutputError, after which nothing is tried."""

    _failed = False

    def write(self, data: "bytes | bytearray | memoryview") -> int | None:  # type: ignore[override]
        if self._failed:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            self.told(error)
            return len(data)

    def told(self, error: OSError) -> None:
        """Say that it failed."""
        raise OutputError(error.errno, error.strerror) from error


class _Errors(_Output):
    """That of stderr: when it fails there is nowhere left to say so."""

    def told(self, error: OSError) -> None:
        del error


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or _escaped(letter) for letter in letters), error.end


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()
