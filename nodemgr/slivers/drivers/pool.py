"""Slivers that are prepared before anybody asks, so that making one is a claim and a rename.

The page is docs/slivers.md, "Prepared slivers". One that is prepared has no name, no key and no process but its first,
and nobody was ever inside. One that is claimed is a sliver like any other and never comes back. Whatever goes wrong
here costs time only: a sliver is made anew then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nodemgr.slivers.drivers.driver import Likeness, SliverSpec
from nodemgr.slivers.inside import etc
from nodemgr.slivers.inside.folder import Record, SliverFolder, discard
from nodemgr.slivers.inside.view import Entry, Folders, entries
from nodemgr.slivers.process.processes import Process
from rpc.files import sync, sync_folder
from trust.errors import Refusal

log = logging.getLogger(__name__)

LOOK_SECONDS = 5  # between two looks whether there is room
PAUSE_SECONDS = 0.1  # before another is prepared: whoever got the last one logs in now
RETRY_SECONDS = 30


class First(Protocol):
    """The first process of a prepared sliver, and whatever its driver needs to give it a name."""

    @property
    def process(self) -> Process: ...

    def settle(self) -> None:
        """Wait until the sliver can be entered. Refusal when it cannot."""


class Preparing(Protocol):
    """What the pool asks of its driver (`nodemgr.slivers.drivers.life.LocalDriver`)."""

    directory: Path

    @property
    def at_work(self) -> bool: ...
    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> First: ...
    def name_first(self, first: Any, record: Record) -> None: ...
    def end_first(self, first: Any, slice: str | None = None) -> None: ...
    def give_uid(self) -> int | None: ...
    def uid_is_written(self, uid: int | None) -> None: ...
    def folders(self, sliver: SliverFolder) -> Folders: ...
    def furnish(self, sliver: SliverFolder, names: etc.Names) -> None: ...
    def write_names(self, sliver: SliverFolder, names: etc.Names) -> None: ...
    def write_key(
        self, sliver: SliverFolder, private: str, public: str, host_uid: int | None, *, durable: bool = True
    ) -> list[Path]: ...
    def begun(self, slice: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sliver without a name, waiting for one."""

    folder: SliverFolder
    host_uid: int | None
    like: Likeness
    first: First


class Pool:
    """The prepared slivers of one driver. `claim` is for any thread, all else for the node manager's loop."""

    def __init__(self, driver: Preparing) -> None:
        self._driver = driver
        self._ready: list[Prepared] = []
        self._guard = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "slivers-ready")
        self._syncs = ThreadPoolExecutor(10, "slivers-sync")
        self._wanted = asyncio.Event()

    def look(self) -> None:
        """One may be missing now."""
        self._wanted.set()

    async def keep(self, number: int, like: Likeness, room: Callable[[], bool]) -> None:
        """`Driver.keep_ready`."""
        try:
            while True:
                try:
                    await self._round(number, like, room)
                except (OSError, Refusal) as error:
                    log.warning("no sliver can be prepared now, trying again later: %s", error)
                    await self._do(self._drain)
                    await asyncio.sleep(RETRY_SECONDS)
                self._wanted.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wanted.wait()
                        await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await asyncio.shield(self._do(self._drain))

    def claim(self, spec: SliverSpec) -> bool:
        """Make a prepared sliver the one that is asked for; False when there is none that can be."""
        prepared = self._taken(Likeness.of(spec))
        if prepared is None:
            return False
        record = Record.of(spec, prepared.host_uid)
        self._driver.begun(record.slice)
        try:
            self._driver.name_first(prepared.first, record)  # it needs as long as the disk, so both work at once
            self._write(prepared, record, spec)
            prepared.first.settle()
            prepared.folder.become(record.slice)
        except (OSError, Refusal) as error:
            log.warning("a prepared sliver was of no use to %s: %s", record.slice, error)
            self._discard(prepared, record.slice)
            return False
        self._driver.uid_is_written(prepared.host_uid)
        sync_folder(self._driver.directory)
        return True

    def _write(self, prepared: Prepared, record: Record, spec: SliverSpec) -> None:
        """All that makes it that slice's. What must be on disk goes there at once: one after the other, these five
        would take most of the time of a claim."""
        folder = prepared.folder
        self._driver.write_names(folder, etc.Names(record.slice, record.hostname))
        keys = self._driver.write_key(folder, spec.private_key, spec.public_key, record.host_uid, durable=False)
        stored = folder.write(record, durable=False)
        folder.write_keeper(prepared.first.process)
        list(self._syncs.map(sync, (*keys, keys[0].parent, stored, stored.parent)))

    def _taken(self, like: Likeness) -> Prepared | None:
        """One of that likeness, which is the caller's alone from now on."""
        with self._guard:
            for number, prepared in enumerate(self._ready):
                if prepared.like == like and prepared.first.process.alive:
                    return self._ready.pop(number)
        return None

    async def _round(self, number: int, like: Likeness, room: Callable[[], bool]) -> None:
        await self._do(lambda: self._drain(useless=like))
        while room() and _memory_mb() >= 2 * like.memory_mb:
            if len(self._ready) >= number:
                return
            if self._driver.at_work:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                await self._do(lambda: self._add(like))
        await self._do(self._drain)

    async def _do(self, work: Callable[[], None]) -> None:
        """In the pool's one thread: what it does there it does one after the other, awaited or not."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _add(self, like: Likeness) -> None:
        prepared = self._prepared(like)
        with self._guard:
            self._ready.append(prepared)

    def _prepared(self, like: Likeness) -> Prepared:
        uid = self._driver.give_uid()
        folder = SliverFolder.nameless(self._driver.directory, uid)
        try:
            folder.make(uid)
            self._driver.furnish(folder, etc.Names("nameless", like.hostname))
            view = entries(None, self._driver.folders(folder))
            return Prepared(folder, uid, like, self._driver.prepare_first(folder.path.name, like, uid, view))
        except BaseException:
            self._remove(folder, uid)
            raise

    def _drain(self, useless: Likeness | None = None) -> None:
        """Remove all, or only those that died or are not of this likeness."""
        with self._guard:
            kept = [each for each in self._ready if each.like == useless and each.first.process.alive]
            gone = [each for each in self._ready if each not in kept]
            self._ready = kept
        for prepared in gone:
            self._discard(prepared)

    def _discard(self, prepared: Prepared, slice: str | None = None) -> None:
        try:
            self._driver.end_first(prepared.first, slice)
            self._remove(prepared.folder, prepared.host_uid)
        except (OSError, Refusal) as error:
            log.warning("a prepared sliver stays until the next start: %s", error)

    def _remove(self, folder: SliverFolder, uid: int | None) -> None:
        if folder.path.exists():
            discard(folder.path)
        self._driver.uid_is_written(uid)


def _memory_mb() -> int:
    """MiB that this host can give to programs before it swaps (proc(5), /proc/meminfo)."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    return 0
