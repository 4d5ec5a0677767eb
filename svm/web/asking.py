"""svmd and plc as this user, for many requests of a browser at once; the only file here that calls them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

from svm.client import Started, Svmd
from svm.files import forget_slice
from svm.flags import Flags
from svm.home import Home
from svm.request import Request
from svm.web.followed import Followed
from trust.errors import Code, Refusal, printable

FOLLOWED = 32
"""Operations whose events are kept."""
FRESH = 60
"""Seconds."""


class Asking:
    """Connections to svmd, one for each request that is being answered, and the operations that were looked at."""

    def __init__(self, home: Home, flags: Flags, connect: Callable[[Home, Flags], Svmd] = Svmd) -> None:
        self.home = home
        self.flags = flags
        self._connect = connect
        self._lock = threading.Lock()
        self._free: list[Svmd] = []
        self._followed: OrderedDict[str, Followed] = OrderedDict()
        self._images: tuple[float, list[str]] = (float("-inf"), [])

    @property
    def who(self) -> str:
        return self.home.credentials.identity.name

    @property
    def certificate_end(self) -> datetime:
        return self.home.credentials.certificate.not_valid_after_utc

    @contextmanager
    def svmd(self) -> Iterator[Svmd]:
        """A connection of its own. After a refusal none is kept: the certificate may be another one by now."""
        with self._lock:
            one = self._free.pop() if self._free else None
        one = one or self._connect(self.home, self.flags)
        try:
            yield one
        except BaseException:
            one.close()
            self.close()
            raise
        with self._lock:
            self._free.append(one)

    def start(self, request: Request) -> Started:
        """Ask for an operation."""
        with self.svmd() as svmd:
            return svmd.start(request)

    def followed(self, operation: str) -> Followed:
        """The operation's events, read from now on where nobody has asked before."""
        with self._lock:
            found = self._followed.get(operation)
            if found is None or found.failed:
                found = self._followed[operation] = Followed(lambda: self._events(operation))
            self._followed.move_to_end(operation)
            if len(self._followed) > FOLLOWED:
                self._followed.popitem(last=False)[1].stop()
        return found

    def images(self) -> list[str]:
        """Names of the images that nodes advertise, as they were within the last minute."""
        read, names = self._images
        if monotonic() - read > FRESH:
            with self.svmd() as svmd:
                names = sorted({printable(name, 63) for ad in svmd.ads(None) for name in ad.get("images") or ()})
            self._images = monotonic(), names
        return names

    def keys_of(self, email: str) -> tuple[str, ...]:
        """The SSH keys that plc has of somebody. Raises Refusal(NOT_FOUND) when there are none."""
        from plc.client import Plc

        with closing(Plc(self.home.require_plc(), self.home.require_certificate())) as plc:
            found = tuple(plc.keys(email))
        if not found:
            raise Refusal(
                Code.NOT_FOUND, f"{email[:80]} has no SSH key; they upload one with pluserinfo --add-key FILE"
            )
        return found

    def forget(self, name: str) -> None:
        """The files of a slice that is going."""
        forget_slice(self.home.directory, name)

    def close(self) -> None:
        """Close what is not in use."""
        with self._lock:
            free, self._free = self._free, []
        for one in free:
            one.close()

    def _events(self, operation: str) -> Iterator[dict[str, Any]]:
        svmd = self._connect(self.home, self.flags)
        try:
            yield from svmd.events(operation)
        finally:
            svmd.close()
