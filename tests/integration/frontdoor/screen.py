"""The user's terminal: a pseudo-terminal of the test's own, with a real client in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence


class Screen:
    """What a person types to a client, and what they see of it.

    Args:
        argv: the client's command line; this is its controlling terminal.
        rows, columns: the window's size, in characters.
    """

    def __init__(self, argv: Sequence[str], rows: int = 31, columns: int = 97) -> None:
        self._master, self.terminal = pty.openpty()
        self.size(rows, columns)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self.terminal)
        environment = os.environ | {"TERM": "vt220"}
        self.client = subprocess.Popen(["setsid", "--ctty", *argv], **streams, env=environment)  # type: ignore[call-overload]
        self.seen = ""

    def size(self, rows: int, columns: int) -> None:
        """Another size of the window; the kernel tells the client (SIGWINCH)."""
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, pattern: str) -> str:
        """Wait until `pattern` is on the screen; what stood there up to it is gone from `seen`."""
        end = time.monotonic() + 30
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < end, f"{pattern!r} not in {self.seen!r}"
            self.look(1)
        self.seen = self.seen[found.end() :]
        return found.group(0)

    def look(self, seconds: float) -> None:
        """Add to `seen` what comes next, within so many seconds."""
        if select.select([self._master], [], [], seconds)[0]:
            with contextlib.suppress(OSError):
                self.seen += os.read(self._master, 65536).decode(errors="replace")

    def close(self) -> None:
        self.client.kill()
        self.client.wait()
        os.close(self._master)
        os.close(self.terminal)
