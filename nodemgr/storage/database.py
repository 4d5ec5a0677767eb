"""What a node knows, twice: in memory, in plain tables that are read, and in SQLite on disk (`databasefile.py`).

Each transaction is on disk before it counts, so that what was answered stays, whatever kills the process. Only what
takes something away may run ahead of a disk that takes nothing: it counts at once, and is written when that can be.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from nodemgr.storage.databasefile import DatabaseFile, Statement, cannot_write

log = logging.getLogger(__name__)

Key = TypeVar("Key")
Row = TypeVar("Row")
Done = TypeVar("Done")


class Database:
    """The database in the file `path`. One lock for both copies; every change runs in `transaction()`.

    Args:
        reserve: bytes on the disk that are kept for it.
        durable: False: "on disk" means with the kernel, for what a power cut may take (`databasefile.py`).

    Raises:
        Refusal: DISK_FULL when it cannot be opened for want of room.
    """

    def __init__(self, path: Path, reserve: int, *, durable: bool = True) -> None:
        self.path = path
        self._lock = RLock()
        self._changing = False  # whether a transaction is under way; only its thread sees that, by the lock
        self._said: list[Statement] = []  # in it
        self._undo: list[Callable[[], None]] = []  # what it did in memory
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []  # for the next commit
        self._owed: list[Statement] = []  # done, and not on disk
        self._ahead: str | None = None
        self._behind: set[str] = set()  # of whom the file says too much
        self._unknown: set[str] = set()  # those of them of whom memory does not know better yet
        self._file = DatabaseFile(path, reserve, durable=durable)

    def close(self) -> None:
        with self._lock:
            self.settle()
            self._file.close()

    @contextmanager
    def transaction(self, ahead: str | None = None) -> Iterator[None]:
        """All or nothing, on disk at its end; one at a time. May stand inside another one, and counts with it then.

        Args:
            ahead: what is done in it only takes away, and counts at once even if the disk takes nothing. The name of
                whose rights are taken, who must not have them after a restart either; "" when nobody's are.

        Raises:
            Refusal: DISK_FULL when the disk takes nothing; nothing has changed then.
        """
        with self._lock:
            if self._changing:
                said, done = len(self._said), len(self._undo)
                try:
                    yield
                except BaseException:
                    self._take_back(said, done)
                    raise
                return
            self._changing, self._said, self._undo, self._ahead = True, [], [], ahead
            try:
                yield
                self._commit()
            except BaseException:
                self._take_back(0, 0)
                raise
            finally:
                self._changing = False

    async def together(self, work: Callable[[], Done]) -> Done:
        """What comes of `work`, which is a transaction and only adds: on disk with what others do at the same time.

        A disk takes a hundred times as long for a commit as for what stands in it.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        mine: asyncio.Future[Done] = loop.create_future()
        self._waiting.append((work, mine))
        return await mine

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            ended = self._tried([work for work, _ in waiting])
        except BaseException as error:  # noqa: BLE001  # nobody is left waiting
            ended = [(None, error) for _ in waiting]
        for (_, future), (done, failure) in zip(waiting, ended, strict=True):
            if future.done():  # who asked has gone
                continue
            if failure is None:
                future.set_result(done)
            else:
                future.set_exception(failure)

    def _tried(self, works: Sequence[Callable[[], Done]]) -> list[tuple[Done | None, BaseException | None]]:
        """In one commit; where that fails, in one each: one's trouble is not the others'."""
        try:
            with self.transaction():
                return [_tried(work) for work in works]
        except Exception as error:  # noqa: BLE001  # told to who waits
            return [(None, error)] if len(works) == 1 else [_tried(work) for work in works]

    @property
    def owed(self) -> int:
        """Statements that are done and not on disk."""
        return len(self._owed)

    def settle(self) -> None:
        """Write what is owed if that can be, and have room again for the next full disk."""
        with self._lock:
            if self._owed:
                with suppress(sqlite3.OperationalError):
                    self._write([])
            else:
                self._file.ballast.make()

    def make_room(self) -> bool:
        """Give the disk back what is kept of it; whether that was anything."""
        return self._file.ballast.give_back()

    def _take_back(self, said: int, done: int) -> None:
        """All but the first so many statements, and so many changes in memory."""
        for undo in reversed(self._undo[done:]):
            undo()
        del self._said[said:], self._undo[done:]

    def _commit(self) -> None:
        try:
            if self._said:
                self._write(self._said)
        except sqlite3.OperationalError as error:
            if self._ahead is None:
                raise cannot_write(error) from error
            self._run_ahead(self._ahead)
        self._undo = []

    def _write(self, statements: Sequence[Statement]) -> None:
        """To disk, after all that is owed: in the order in which it was done."""
        self._file.write([*self._owed, *statements])
        self._owed = []
        self._file.caught_up(self._behind - self._unknown)
        self._behind &= self._unknown

    def _run_ahead(self, name: str) -> None:
        if not self._owed:
            log.error("the disk of %s takes nothing: what is taken away counts, and is written later", self._file.path)
        self._owed += self._said
        if name and name not in self._behind:
            self._behind.add(name)
            try:
                self._file.fall_behind(name)
            except OSError as error:
                log.error("no word of that could be left on disk (%s): do not restart this node now", error.strerror)

    def _set(self, table: dict[Key, Row], key: Key, row: Row | None) -> None:
        """In memory; None: drop it. Within a transaction."""
        self._undo.append(partial(_put, table, key, table.get(key)))
        _put(table, key, row)

    def _say(self, sql: str, *values: object) -> None:
        """On disk. Within a transaction."""
        self._said.append((sql, values))


def _tried(work: Callable[[], Done]) -> tuple[Done | None, BaseException | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001  # told to who asked for this
        return None, error


def _put(table: dict[Key, Row], key: Key, row: Row | None) -> None:
    if row is None:
        table.pop(key, None)
    else:
        table[key] = row
