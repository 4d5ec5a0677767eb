"""The file that a node's store is kept in: SQLite, WAL with synchronous=FULL, on blocks that are its own already.

Simulated nodes do without the waits for the disk: what the kernel has survives the process, as their slivers do, and
not the machine.

What is written goes into a log and a file that have room for it, so that a full disk stops neither. Where the file
system does not work so (it copies on write, say), ballast is given back. What still cannot be written stays with the
store, in memory; names in the folder `PATH-behind` say then, to a later start, what this file does not.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nodemgr.storage.ballast import Ballast
from trust.errors import Code, Refusal

Statement = tuple[str, Sequence[object]]

CHECKPOINT = 200  # pages of the log after which they move to the file; well below the ballast's size
SPARE = 3 << 19  # bytes within the file for what is added to it


class DatabaseFile:
    """The database `path`, made when it is not there.

    Args:
        reserve: bytes of ballast beside it; 0 for none, and no room within.
        durable: False: what is written survives the process, and comes to the disk when the system likes.

    Raises:
        Refusal: DISK_FULL when it cannot be opened for want of room; BAD_INPUT for a damaged one.
    """

    def __init__(self, path: Path, reserve: int, *, durable: bool = True) -> None:
        self.path = path
        self._synchronous = "FULL" if durable else "OFF"
        self.ballast = Ballast(path.with_name(f"{path.name}-reserve"), reserve)
        self._log = path.with_name(f"{path.name}-wal")
        self._behind = path.with_name(f"{path.name}-behind")
        self.ballast.make()
        try:
            self.ballast.become_log(self._log)
            path.touch(mode=0o600)
            self.connection = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise cannot_write(error) from error
        except sqlite3.DatabaseError as error:
            cure = "put a backup in its place, or move it away: all leases of this node end then"
            raise Refusal(Code.BAD_INPUT, f"{path} is damaged ({error}); {cure}") from error
        self.ballast.make()
        self.widen()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def write(self, statements: Iterable[Statement]) -> None:
        """All of them or none, on disk when it returns. sqlite3.OperationalError when they cannot be written."""
        statements = list(statements)
        try:
            self._write(statements)
        except sqlite3.OperationalError:
            if not self.ballast.give_back():
                raise
            self._write(statements)

    def widen(self) -> None:
        """Have some room within the file, where a reserve is wanted and the disk has it."""
        with contextlib.suppress(sqlite3.OperationalError):
            free, size = self.rows("PRAGMA freelist_count")[0][0], self.rows("PRAGMA page_size")[0][0]
            if self.ballast.held and free * size < SPARE // 2:
                fill = ("INSERT INTO room VALUES (zeroblob(?))", (SPARE,))
                self._write([("CREATE TABLE room (x BLOB)", ()), fill, ("DROP TABLE room", ())])
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        self.ballast.keep_log(self._log)
        self.connection.close()
        self.ballast.cleared(self._log)

    def fall_behind(self, name: str) -> None:
        """Leave word that the file says too much about `name`. Needs no block of the disk; OSError when it fails."""
        self._behind.mkdir(mode=0o700, exist_ok=True)
        place = self._behind / name
        with contextlib.suppress(FileExistsError):
            try:
                os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                raise
            except OSError:
                os.link(self.path, place)  # another name needs no inode either

    def behind(self) -> list[str]:
        """About whom word was left."""
        return sorted(path.name for path in self._behind.iterdir()) if self._behind.is_dir() else []

    def caught_up(self, names: Iterable[str]) -> None:
        """It says all of them rightly."""
        for name in names:
            (self._behind / name).unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect("NORMAL")
        except sqlite3.OperationalError:
            # The index that it shares with other readers is a file of its own, for which there may be no room.
            return self._connect("EXCLUSIVE")

    def _connect(self, locking: str) -> sqlite3.Connection:
        made = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            synchronous = f"synchronous = {self._synchronous}"
            for pragma in (f"locking_mode = {locking}", synchronous, "journal_mode = WAL"):
                made.execute(f"PRAGMA {pragma}")
            for pragma in ("foreign_keys = ON", "trusted_schema = OFF", f"wal_autocheckpoint = {CHECKPOINT}"):
                made.execute(f"PRAGMA {pragma}")
            made.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            made.close()
            raise
        return made

    def _write(self, statements: Sequence[Statement]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                self.connection.execute(sql, values)
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # SQLite has rolled back itself after some errors
                self.connection.execute("ROLLBACK")
            raise


def cannot_write(error: Exception) -> Refusal:
    """One clear line for what the disk refused."""
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or "full" in str(error)
    if full or isinstance(error, OSError):
        return Refusal(Code.DISK_FULL, DISK_FULL)
    return Refusal(Code.DISK_FULL, f"the node cannot write its disk ({error}); try again later, or take another node")


DISK_FULL = "the disk of this node is full; try again later, or take another node"
