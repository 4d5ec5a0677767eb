"""svmd as the operator, asked about everybody's slices as `svm web` asks about one's own; and what he has ordered."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from admin.lab.orphans import Orphan, found
from admin.lab.reach import Reach
from svm.client import Endpoint, Svmd, place_of
from svm.flags import Flags
from svm.home import Home
from svm.web.asking import Asking
from trust.clock import system_clock
from trust.errors import Code, Refusal
from trust.orders import Order

KEPT = 100
"""Orders whose pages are there still."""


class Everyones(Svmd):
    """The reads of a user, about all slices."""

    room = "/operator"

    def __init__(self, home: Home, flags: Flags, reach: Reach) -> None:
        super().__init__(home, flags, credentials=reach.credentials)
        self._reach = reach

    @cached_property
    def _place(self) -> Endpoint:
        return place_of(self.home, self._reach.plc.directory())


@dataclass(frozen=True, slots=True)
class Placed:
    """Orders that were given at once."""

    what: str
    reason: str
    orders: Sequence[Order]
    at: datetime


@dataclass(frozen=True, slots=True)
class Looked:
    """What all nodes said when they were asked for orphans. `ended` None: they are being asked."""

    began: datetime
    ended: datetime | None = None
    orphans: Sequence[Orphan] = ()
    silent: tuple[tuple[str, str], ...] = ()
    refused: str = ""


class Operating(Asking):
    """What the pages of `dslice web` ask and do."""

    def __init__(self, reach: Reach, flags: Flags) -> None:
        home = Home(directory=reach.credentials.directory, plc_url=reach.plc.url)
        super().__init__(home, flags, lambda home, flags: Everyones(home, flags, reach))
        self.reach = reach
        self.looked: Looked | None = None
        self._placed: OrderedDict[str, Placed] = OrderedDict()

    def close(self) -> None:
        """Close what is not in use; the certificate may be another one at the next call."""
        super().close()
        self.reach.plc.reload()

    def keep(self, what: str, reason: str, orders: Sequence[Order]) -> str:
        """Orders for a page of their own; its address."""
        key = secrets.token_hex(8)
        self._placed[key] = Placed(what, reason, orders, system_clock().now())
        while len(self._placed) > KEPT:
            self._placed.popitem(last=False)
        return f"/orders/{key}"

    def placed(self, key: str) -> Placed:
        """Raises Refusal(NOT_FOUND)."""
        if key not in self._placed:
            raise Refusal(
                Code.NOT_FOUND, "no such orders were given since this program began; plc's journal has all of them"
            )
        return self._placed[key]

    def obeyed(self, placed: Placed) -> dict[str, bool]:
        """Which of the nodes have said that they obeyed, by name. Raises Refusal."""
        told = {order.jti: order.node.name for order in placed.orders if order.node is not None}
        answer = self.reach.plc.obeyed([*told]) if told else {}
        return {node: bool(answer.get(jti, True)) for jti, node in told.items()}

    def look(self) -> None:
        """Have all nodes asked for orphans, beside what else goes on; once at a time."""
        if self.looked is None or self.looked.ended is not None:
            self.looked = Looked(system_clock().now())
            threading.Thread(target=self._look, args=(self.looked,), daemon=True).start()

    def _look(self, begun: Looked) -> None:
        try:
            stray, silent = found(self.reach)
        except Refusal as refusal:
            self.looked = Looked(begun.began, system_clock().now(), refused=refusal.reason)
        else:
            self.looked = Looked(begun.began, system_clock().now(), stray, tuple(silent.items()))
