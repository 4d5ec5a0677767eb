"""What a sliver runs by itself at each start (docs/slivers.md, "At each start"), and how that went.

It is no session: nobody waits for it outside, so that it outlives the node manager as a daemon does. It tells through a
pipe that it has begun, and how it ended.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from nodemgr.slivers.drivers.driver import News, Session
from nodemgr.slivers.process.processes import Process
from nodemgr.slivers.process.spawn import open_pipe
from trust.errors import Refusal

log = logging.getLogger(__name__)

PROGRAM = "/etc/slice/boot"  # inside
COMMAND = ("/bin/sh", "-c", f"setsid --fork /bin/sh {PROGRAM} </dev/null >/dev/null 2>&1")
LOG = "~/.config/dslice/boot.log"
_MOST = 4096  # bytes of it that anybody looks at
_ENDED = re.compile(rb"^ended (\d{1,3})$", re.MULTILINE)


@dataclass(slots=True)
class _Boot:
    """One that is under way: what it said so far, and what of that was told."""

    slice: str
    first: Process
    said: bytes = b""
    begun: bool = False


class Boots:
    """Those of one driver's slivers. For any thread."""

    def __init__(self) -> None:
        self._under_way: dict[int, _Boot] = {}  # by the descriptor that it is heard on
        self._guard = threading.Lock()

    def begin(self, slice: str, first: Process, enter: Callable[[int], Session]) -> None:
        """Have the sliver run `PROGRAM`. Whatever goes wrong with that is no trouble of the sliver's start.

        Args:
            first: the sliver's first process.
            enter: starts `COMMAND` inside, with this descriptor of ours as its descriptor 3.
        """
        try:
            with ExitStack() as ours, ExitStack() as theirs:
                heard, told = open_pipe(ours, theirs)
                session = enter(told)
                ours.pop_all()  # kept in `_under_way`
        except (OSError, Refusal) as error:
            log.warning("the sliver of %s runs nothing at this start: %s", slice, error)
            return
        for descriptor in {session.stdin, session.stdout, session.stderr, session.ended} - {None}:
            os.close(descriptor)  # type: ignore[arg-type]
        threading.Thread(target=session.wait, name=f"boot-{slice}", daemon=True).start()
        os.set_blocking(heard, False)
        with self._guard:
            self._under_way[heard] = _Boot(slice, first)

    def forget(self, slice: str) -> None:
        """Its sliver ends, and what it runs with it."""
        with self._guard:
            for heard in [heard for heard, boot in self._under_way.items() if boot.slice == slice]:
                os.close(heard)
                del self._under_way[heard]

    def news(self) -> list[News]:
        """What has become of them since this was last asked."""
        with self._guard:
            return [each for heard, boot in list(self._under_way.items()) for each in self._news(heard, boot)]

    def _news(self, heard: int, boot: _Boot) -> Iterator[News]:
        try:
            new = os.read(heard, _MOST)
        except BlockingIOError:
            return
        boot.said = (boot.said + new)[-_MOST:]
        if not boot.begun and b"began\n" in boot.said:
            boot.begun = True
            yield News(boot.slice, "its boot began")
        ended = _ENDED.search(boot.said)
        if ended or not new:
            os.close(heard)
            del self._under_way[heard]
        if ended and int(ended[1]):
            yield News(boot.slice, f"its boot ended with status {int(ended[1])}: {LOG} says more")
        elif ended:
            yield News(boot.slice, "its boot ended well")
        elif not new and boot.begun and boot.first.alive:  # else it ended with its sliver
            yield News(boot.slice, f"its boot was cut off: {LOG} may say more")
