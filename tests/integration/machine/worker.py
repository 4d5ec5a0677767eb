"""A worker as the machine has it: what it does for each message, and what it writes down, in the caller's turn."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lifecycle.outcome import Record
from lifecycle.writer import Writer, _Entry
from models.states import Kind
from tasks.addkey import addkey
from tasks.canary import canary
from tasks.delete import delete
from tasks.delkey import delkey
from tasks.newleases import newleases
from tasks.newtickets import newtickets
from tasks.newvms import newvms
from tasks.nukekeys import nukekeys
from tasks.reconcile import reconcile
from tasks.rekey import rekey
from tasks.release import release
from tasks.renew import renew
from tasks.replace import replace
from tasks.reset import reset
from tasks.restart import restart
from tasks.start import start
from tasks.stop import stop

TASKS: dict[Kind, Any] = {
    Kind.NEWTICKETS: newtickets,
    Kind.NEWLEASES: newleases,
    Kind.NEWVMS: newvms,
    Kind.ADDKEY: addkey,
    Kind.DELKEY: delkey,
    Kind.NUKEKEYS: nukekeys,
    Kind.REKEY: rekey,
    Kind.START: start,
    Kind.STOP: stop,
    Kind.RESTART: restart,
    Kind.RESET: reset,
    Kind.RENEW: renew,
    Kind.DELETE: delete,
    Kind.RELEASE: release,
    Kind.REPLACE: replace,
    Kind.RECONCILE: reconcile,
    Kind.CANARY: canary,
}

Message = tuple[Kind, tuple[int, ...]]


class PromptWriter(Writer):
    """The writer without its thread: what is submitted is committed in the caller's turn, or in `group` with more.

    Args:
        group: what waits to be committed together; None: nothing waits.
        written: what was committed, in that order.
    """

    group: list[_Entry] | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.written: list[Record] = []

    def submit(self, record: Any) -> Any:
        return self.wake(record)

    def wake(self, operation: Any) -> Any:
        entry = _Entry(operation)
        if self.group is None:
            self._write([entry])
        else:
            self.group.append(entry)
        return entry.done

    def _commit(self, entries: Sequence[_Entry]) -> None:
        super()._commit(entries)
        self.written += [entry.item for entry in entries if isinstance(entry.item, Record) and entry.done.result().ours]


@dataclass
class Stopped:
    """A worker that stands still with a step in its hands."""

    gate: "asyncio.Future[None]"
    task: "asyncio.Task[Any]"
