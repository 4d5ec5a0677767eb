"""The life of a sliver on this host, as every driver with real slivers shares it; what differs are four methods.

A sliver is a folder with its record, and while it runs a first process, its keeper. The keeper's pid, start time and
boot are on disk before anybody enters, so that a node manager that was killed finds its slivers running and takes them
over. Each sliver is worked on by one thread at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from nodemgr.slivers.drivers.driver import NO_VARIABLES, Likeness, News, Pty, SliverSpec
from nodemgr.slivers.drivers.furnish import Furnisher
from nodemgr.slivers.drivers.pool import First, Pool
from nodemgr.slivers.inside import etc, folder
from nodemgr.slivers.inside.folder import Record, SliverFolder
from nodemgr.slivers.inside.keyring import leave_session_keyring
from nodemgr.slivers.inside.view import Entry, Folders, entries
from nodemgr.slivers.limits import hostranges, hostuids, ports
from nodemgr.slivers.process import boot
from nodemgr.slivers.process.hangup import HANGUP_SECONDS, finish, hang_up
from nodemgr.slivers.process.processes import Process, members, namespace
from nodemgr.slivers.process.session import Door, KeeperSession, enter
from rpc.files import replace_file
from trust.errors import Code, Refusal
from trust.names import check_slice_name

log = logging.getLogger(__name__)
T = TypeVar("T")
MOST_AT_WORK = 64  # slivers at once; one whose call is stuck counts


class LocalDriver(Furnisher):
    """A driver whose slivers run on this host (`nodemgr.slivers.drivers.driver.Driver`).

    Args:
        directory: the node manager's folder for slivers, made 0700 here; nothing of it but a sliver's own part is ever
            seen inside.

    Make it on the main thread, before others start: what they inherit is cut off here.
    """

    name = ""
    simulated = False
    quota = "watched"
    owed_mb = taken_mb = 0
    images = False

    def __init__(self, directory: Path) -> None:
        leave_session_keyring()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self.directory = directory.resolve()
        self._ssh = self.directory / ".ssh"
        self.mark = f"{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]}/"
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()
        self._uids = self.host_uids()
        self._given: set[int] = set()
        self._begun: set[str] = set()
        self._boots = boot.Boots()
        self._stuck = False  # a first process may be there that this driver did not begin
        self._workers = ThreadPoolExecutor(MOST_AT_WORK, "sliver")
        self._readers = ThreadPoolExecutor(2, "slivers-read")
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._ssh.mkdir(exist_ok=True)
        self._ssh.chmod(0o755)
        if not (self._ssh / "ssh_config").exists():
            self.write_host_files("", "", etc.LOCALHOST)
        if not (self._ssh / "hosts").exists():  # of an earlier version, which had none
            replace_file(self._ssh / "hosts", etc.LOCALHOST.encode(), 0o644)
        folder.sweep(self.directory)
        self._end_strays()
        self._pool = Pool(self)

    def hold(self, record: Record, view: Sequence[Entry]) -> Process:
        """Start the sliver's first process in a world of its own that looks like `view`, ready to be entered."""
        raise NotImplementedError

    def let_go(self, slice: str, keeper: Process) -> None:
        """End the first process, and with it all others of the sliver."""
        raise NotImplementedError

    def door(self, record: Record, keeper: Process) -> Door:
        """How to enter the running sliver."""
        raise NotImplementedError

    def boot_door(self, record: Record, keeper: Process) -> Door:
        """How what it runs at each start enters."""
        return self.door(record, keeper)

    def entrants(self, slice: str, keeper: Process) -> Sequence[int]:
        """The processes outside that wait for the sliver's sessions."""
        raise NotImplementedError

    def end_unrecorded(self, recorded: Collection[int], slice: str | None = None) -> None:
        """End first processes of this node's (of one slice) that are none of the `recorded` pids."""
        raise NotImplementedError

    def prepare_first(self, name: str, like: Likeness, host_uid: int | None, view: Sequence[Entry]) -> First:
        """The same for a sliver that is nobody's yet; its folder is called `name`."""
        raise NotImplementedError

    def name_first(self, first: Any, record: Record) -> None:
        """Begin to make what `prepare_first` started the first process of this sliver; its `settle` waits for that."""
        raise NotImplementedError

    def end_first(self, first: Any, slice: str | None = None) -> None:
        """End what `prepare_first` started, which was to be that slice's, if any."""
        raise NotImplementedError

    @property
    def at_work(self) -> bool:
        """Whether somebody waits for a sliver."""
        return bool(self._under_way)

    async def keep_ready(self, number: int, like: Likeness, room: Callable[[], bool]) -> None:
        await self._pool.keep(number, like, room)

    async def create(self, spec: SliverSpec) -> None:
        await self._work(spec.slice, lambda: self._create(spec))
        self._pool.look()

    async def start(self, slice: str) -> None:
        await self._work(slice, lambda: self._start(slice))

    async def stop(self, slice: str) -> None:
        await self._work(slice, lambda: self._stop(slice))

    async def reset(self, slice: str) -> None:
        raise Refusal(Code.NOT_ALLOWED, "slivers of this node have no root file system of their own")

    async def delete(self, slice: str) -> None:
        await self._work(slice, lambda: self._delete(slice))

    async def set_slice_key(self, slice: str, *, private_key: str, public_key: str) -> None:
        await self._work(slice, lambda: self._set_slice_key(slice, private_key, public_key))

    async def disk_kib(self, slice: str) -> int:
        return await self._read(lambda: SliverFolder(self.directory, slice).disk_kib())

    async def list(self) -> dict[str, UUID | None]:
        there = await self._read(self._there)
        return {slice: record.slice_id if record else None for slice, record in there.items()}

    async def ended(self, slices: Collection[str]) -> Sequence[str]:
        return await self._read(lambda: [slice for slice in slices if self._ended(slice)])

    async def bound_memory(self) -> None:
        """Control groups do."""

    async def news(self) -> Sequence[News]:
        return self._boots.news()

    async def end_holders(self, port: int) -> Sequence[str]:
        return await asyncio.to_thread(self._end_holders, port)

    def write_host_files(self, known_hosts: str, ssh_config: str, hosts: str) -> None:
        owner = hostranges.shared()  # ssh(1) reads no configuration of anybody but its user and root
        replace_file(self._ssh / "hosts", hosts.encode(), 0o644, owner)
        replace_file(self._ssh / "ssh_known_hosts", known_hosts.encode(), 0o644, owner)
        replace_file(self._ssh / "ssh_config", etc.ssh_config(ssh_config).encode(), 0o644, owner)

    def enter(
        self,
        slice: str,
        argv: Sequence[str],
        *,
        pty: Pty | None,
        variables: Mapping[str, str] = NO_VARIABLES,
        control: int | None = None,
    ) -> KeeperSession:
        sliver = SliverFolder(self.directory, slice)
        record, keeper = sliver.record(), sliver.keeper()
        if record is None or keeper is None or not keeper.alive:
            raise Refusal(Code.NOT_FOUND, f"no sliver of {slice} runs on this node")
        return enter(self.door(record, keeper), argv or [etc.SHELL, "-l"], pty, variables, control)

    def owns_port(self, slice: str, address: str, port: int) -> bool:
        """Whether a connection to `address` (one of this host's own) and `port` reaches a process of the sliver."""
        inside = self._inside(slice)
        return bool(inside) and ports.answers(ports.listeners(), ports.sockets(inside), address, port)

    async def _read(self, look: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, look)

    async def _work(self, slice: str, work: Callable[[], None]) -> None:
        """In a thread of the drivers' own, once the one before has ended that works on the slice: a call that its
        caller gave up and that is stuck holds one thread, however often it is tried again."""
        while (before := self._under_way.get(slice)) is not None:
            await asyncio.wait([before])
        doing = asyncio.get_running_loop().run_in_executor(self._workers, self._locked, slice, work)
        self._under_way[slice] = doing
        doing.add_done_callback(lambda _: self._under_way.pop(slice))
        doing.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting any more
        await asyncio.shield(doing)

    def _lock(self, slice: str) -> threading.RLock:
        with self._guard:
            return self._locks.setdefault(check_slice_name(slice), threading.RLock())

    def _locked(self, slice: str, work: Callable[[], None]) -> None:
        with self._lock(slice):
            work()

    def _create(self, spec: SliverSpec) -> None:
        sliver = SliverFolder(self.directory, spec.slice)
        try:
            record = sliver.record()
        except Refusal:
            record = self._mend(sliver, spec)
        if record is None or record.slice_id != spec.slice_id:
            self._delete(spec.slice)
            if self._pool.claim(spec):
                return
            self._make(sliver, spec)
        self._start(spec.slice, boots=record is not None or spec.image is not None)

    def _mend(self, sliver: SliverFolder, spec: SliverSpec) -> Record | None:
        """Write a damaged record anew. It is of the lease's sliver: an earlier one of the name would have been removed
        before. The first process was started by a record that nobody can read any more, and is ended."""
        if not sliver.home.is_dir():
            return None
        log.warning("the record of the sliver of %s is damaged; written anew, its home stays", spec.slice)
        self._stop(spec.slice)
        record = Record.of(spec, sliver.owner())
        sliver.write(record)
        self.furnish(sliver, etc.Names(record.slice, record.hostname))
        self.write_key(sliver, spec.private_key, spec.public_key, record.host_uid)
        return record

    def _make(self, sliver: SliverFolder, spec: SliverSpec) -> None:
        record = Record.of(spec, self.give_uid())
        try:
            sliver.make(record.host_uid)
            self.make_home(sliver, record)
            self.furnish(sliver, etc.Names(record.slice, record.hostname))
            self.write_key(sliver, spec.private_key, spec.public_key, record.host_uid)
            sliver.write(record)
        finally:
            self.uid_is_written(record.host_uid)

    def give_uid(self) -> int | None:
        """The host user of a new sliver: the next free one; None: our own."""
        if self._uids is None:
            return None
        with self._guard:
            # Of whatever is there: two slivers of one host user would own one another's files.
            taken = {uid for slice in self._folders() if (uid := SliverFolder(self.directory, slice).owner())}
            uid = hostuids.first_free(self._uids, taken | self._given)
            self._given.add(uid)
            return uid

    def uid_is_written(self, uid: int | None) -> None:
        """Its sliver's folder says whose the uid is, or there will be no such sliver."""
        self._given.discard(uid or 0)

    def _start(self, slice: str, *, boots: bool = True) -> None:
        """`boots`: whether there may be something that its owner has it run at each start."""
        sliver, record = self._existing(slice)
        if self._keeper(slice) is not None:
            return
        self.furnish(sliver, etc.Names(record.slice, record.hostname))
        self.begun(slice)
        keeper = self.hold(record, entries(slice, self.folders(sliver)))
        try:
            sliver.write_keeper(keeper)
        except BaseException:
            self.let_go(slice, keeper)
            raise
        if boots:
            door = self.boot_door(record, keeper)
            self._boots.begin(slice, keeper, lambda told: enter(door, boot.COMMAND, None, NO_VARIABLES, told))

    def folders(self, sliver: SliverFolder) -> Folders:
        return Folders(sliver.home, sliver.tmp, sliver.var, sliver.etc, self._ssh, etc.python_folder())

    def _stop(self, slice: str) -> None:
        sliver = SliverFolder(self.directory, slice)
        keeper = self._keeper(slice)
        self._boots.forget(slice)
        if keeper is not None:
            self.let_go(slice, keeper)
            self._begun.discard(slice)
        sliver.write_keeper(None)

    def _delete(self, slice: str) -> None:
        self._stop(slice)
        SliverFolder(self.directory, slice).remove()

    def _keeper(self, slice: str) -> Process | None:
        """The living first process. One whose record is damaged or gone is ended here: nobody could enter it."""
        with suppress(Refusal):
            keeper = SliverFolder(self.directory, slice).keeper()
            if keeper is not None and keeper.alive:
                return keeper
        if slice in self._begun or self._stuck:
            self.end_unrecorded((), slice)
            self._begun.discard(slice)
        return None

    def begun(self, slice: str) -> None:
        """From now on there may be a first process of this sliver, recorded or not."""
        self._begun.add(slice)

    def _ended(self, slice: str) -> bool:
        lock = self._lock(slice)
        if not lock.acquire(blocking=False):
            return False
        try:
            sliver = SliverFolder(self.directory, slice)
            keeper = sliver.keeper()
            return sliver.record() is None or (keeper is not None and not keeper.alive)
        except Refusal:
            return True
        finally:
            lock.release()

    def _set_slice_key(self, slice: str, private_key: str, public_key: str) -> None:
        sliver, record = self._existing(slice)
        self.write_key(sliver, private_key, public_key, record.host_uid)

    def _existing(self, slice: str) -> tuple[SliverFolder, Record]:
        sliver = SliverFolder(self.directory, slice)
        record = sliver.record()
        if record is None:
            raise Refusal(Code.NOT_FOUND, f"there is no sliver of {slice} on this node")
        return sliver, record

    def _inside(self, slice: str) -> Sequence[int]:
        """The processes of a sliver; none when it does not run."""
        keeper = SliverFolder(self.directory, slice).keeper()
        inside = namespace(keeper.pid, "pid") if keeper is not None and keeper.alive else None
        return members(inside) if inside else []

    def _end_holders(self, port: int) -> Sequence[str]:
        found = []
        holders = ((each, pid) for each in self._recorded() for pid in self._inside(each) if ports.holds(pid, port))
        for slice, pid in holders:
            log.warning("%s holds port %d, which is this node's: its process %d is ended", slice, port, pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            found.append(slice)
        return found

    def _folders(self) -> Sequence[str]:
        return [path.name for path in self.directory.glob("[a-z]*") if path.is_dir()]

    def _there(self) -> Mapping[str, Record | None]:
        """Every whole sliver by its name; None for one whose record is damaged."""
        found: dict[str, Record | None] = {}
        for slice in self._folders():
            try:
                record = SliverFolder(self.directory, slice).record()
            except Refusal:
                found[slice] = None
            else:
                found |= {slice: record} if record else {}
        return found

    def _recorded(self) -> Mapping[str, Process]:
        """The living first process of each sliver whose records can be read; a word in the log for the others."""
        found: dict[str, Process] = {}
        for slice in self._folders():
            sliver = SliverFolder(self.directory, slice)
            try:
                keeper = sliver.keeper() if sliver.record() else None
            except Refusal as refusal:
                log.error("%s", refusal.reason)
            else:
                found |= {slice: keeper} if keeper and keeper.alive else {}
        return found

    def _end_strays(self) -> None:
        """What an earlier node manager left: sessions with nobody at their other end, and keepers that it started and
        died before recording, or whose records are damaged. Daemons in slivers stay."""
        alive = self._recorded()
        self._begun |= alive.keys()
        try:
            self.end_unrecorded({keeper.pid for keeper in alive.values()})
        except Refusal as refusal:
            self._stuck = True
            log.error("a sliver's first process without a record stays: %s", refusal.reason)
        strays = [pid for slice, keeper in alive.items() for pid in self.entrants(slice, keeper)]
        groups = [group for pid in strays for group in hang_up(pid)]
        if strays:
            timer = threading.Timer(HANGUP_SECONDS, finish, [strays, groups])
            timer.daemon = True
            timer.start()
