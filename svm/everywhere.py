"""A command for each of many nodes, so many at once, and how each ended: for `svm run`, `svm cp` and `dslice`."""

import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread

from svm.openssh import SSH_FAILED

TIMED_OUT = 124
"""Exit status of a command that was ended because it took too long, as that of timeout(1)."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did on one node; `stderr` is empty where it was to go with `stdout`."""

    node: str
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float


class Everywhere:
    """`argv(node)` run for each node from now on; iterating gives each node's end as it comes, once.

    Args:
        at_once: how many run at the same time.
        merged: stderr goes where stdout goes, in the order in which they were written.
        timeout: seconds after which a node's command is ended; None: never.
    """

    def __init__(
        self,
        argv: Callable[[str], Sequence[str]],
        nodes: Sequence[str],
        at_once: int,
        *,
        merged: bool = False,
        timeout: float | None = None,
    ) -> None:
        self._argv, self._merged, self._timeout = argv, merged, timeout
        self._waiting = deque(nodes)
        self._left = len(nodes)
        self._ended: SimpleQueue[Ran | None] = SimpleQueue()
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        for _ in range(min(at_once, len(nodes))):
            Thread(target=self._work, daemon=True).start()

    def __iter__(self) -> Iterator[Ran]:
        try:
            while self._left and (ran := self._ended.get()) is not None:
                self._left -= 1
                yield ran
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """End what still runs and begin no more; whoever iterates stops. From any thread."""
        with self._lock:
            self._closed, self._left = True, 0
            running = list(self._running)
        for process in running:
            process.kill()
        self._ended.put(None)

    def _work(self) -> None:
        while not self._closed:
            try:
                node = self._waiting.popleft()
            except IndexError:
                return
            self._ended.put(self._run(node))

    def _run(self, node: str) -> Ran:
        began = time.monotonic()
        try:
            process = self._begun(node)
        except OSError as error:
            said = f"{error.strerror or error}\n".encode()
            return Ran(node, SSH_FAILED, *((said, b"") if self._merged else (b"", said)), time.monotonic() - began)
        late = False
        try:
            out, err = process.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired:
            late = True
            process.kill()
            out, err = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        return Ran(node, TIMED_OUT if late else process.returncode, out, err or b"", time.monotonic() - began)

    def _begun(self, node: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            self._argv(node),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if self._merged else subprocess.PIPE,
        )
        with self._lock:
            self._running.add(process)
            closed = self._closed
        if closed:
            process.kill()
        return process
