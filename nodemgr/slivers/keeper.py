"""What the bubblewrap and the unshare driver share: the whole life of a sliver that a keeper process holds.

The keeper's pid, start time and boot are on disk before anybody enters, so that a node manager that was killed finds
its slivers running and takes them over. Each sliver is worked on by one thread at a time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from nodemgr.slivers import cgroups, etc, folder, hostuids, ports
from nodemgr.slivers.driver import Pty, SliverSpec, Usage
from nodemgr.slivers.folder import Record, SliverFolder
from nodemgr.slivers.hangup import HANGUP_SECONDS, cut_off, finish, hang_up
from nodemgr.slivers.keyring import leave_session_keyring
from nodemgr.slivers.launch import as_host_user, launch, program, staged
from nodemgr.slivers.limits import rlimits
from nodemgr.slivers.processes import Process, entrants, first_processes, members, namespace, resident_kib
from nodemgr.slivers.session import Door, KeeperSession, enter
from nodemgr.slivers.spawn import HELPER_ENVIRONMENT
from nodemgr.slivers.view import Entry, Folders, entries
from trust.errors import Code, Refusal
from trust.names import check_slice_name


class KeeperDriver:
    """A driver whose slivers are namespaces held by one process each.

    Args:
        directory: the node manager's folder for slivers, made 0700 here; nothing of it but a sliver's own part is ever
            seen inside.

    Make it on the main thread, before others start: what they inherit is cut off here.
    """

    name = ""
    simulated = False
    tools: tuple[str, ...] = ()

    def __init__(self, directory: Path) -> None:
        leave_session_keyring()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._directory = directory.resolve()
        self._ssh = self._directory / ".ssh"
        self._mark = f"{hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:16]}/"
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()
        self._uids = hostuids.available(self._directory)
        self._given: set[int] = set()
        self._cgroups = cgroups.available(self._directory)
        self._ssh.mkdir(exist_ok=True)
        self._ssh.chmod(0o755)
        if not (self._ssh / "ssh_config").exists():
            self.write_host_files("", "")
        folder.sweep(self._directory)
        self._end_strays()

    def keeper_command(self, hostname: str, view: Sequence[Entry]) -> list[str]:
        """The command that makes the namespaces and the view, and runs `launch.KEEPER` in them as PID 1."""
        raise NotImplementedError

    async def create(self, spec: SliverSpec) -> None:
        await asyncio.to_thread(self._locked, spec.slice, lambda: self._create(spec))

    async def start(self, slice: str) -> None:
        await asyncio.to_thread(self._locked, slice, lambda: self._start(slice))

    async def stop(self, slice: str) -> None:
        await asyncio.to_thread(self._locked, slice, lambda: self._stop(slice))

    async def delete(self, slice: str) -> None:
        await asyncio.to_thread(self._locked, slice, lambda: self._delete(slice))

    async def set_limits(self, slice: str, *, memory_mb: int, processes: int) -> None:
        await asyncio.to_thread(self._locked, slice, lambda: self._set_limits(slice, memory_mb, processes))

    async def set_slice_key(self, slice: str, *, private_key: str, public_key: str) -> None:
        await asyncio.to_thread(self._locked, slice, lambda: self._set_slice_key(slice, private_key, public_key))

    async def usage(self, slice: str) -> Usage:
        return await asyncio.to_thread(self._usage, slice)

    async def list(self) -> dict[str, UUID]:
        return {record.slice: record.slice_id for record in await asyncio.to_thread(self._records)}

    def write_host_files(self, known_hosts: str, ssh_config: str) -> None:
        etc.replace(self._ssh / "ssh_known_hosts", known_hosts.encode(), 0o644)
        etc.replace(self._ssh / "ssh_config", etc.ssh_config(ssh_config).encode(), 0o644)

    def enter(self, slice: str, argv: Sequence[str], *, pty: Pty | None) -> KeeperSession:
        sliver = SliverFolder(self._directory, slice)
        record, keeper = sliver.record(), sliver.keeper()
        if record is None or keeper is None or not keeper.alive:
            raise Refusal(Code.NOT_FOUND, f"no sliver of {slice} runs on this node")
        join = self._cgroups.join(slice) if self._cgroups else ()
        door = Door(slice, keeper.pid, record.host_uid, join, rlimits(record.memory_mb, record.processes))
        return enter(door, argv or [etc.SHELL, "-l"], pty)

    def owns_port(self, slice: str, address: str, port: int) -> bool:
        """Whether a connection to `address` (one of this host's own) and `port` reaches a process of the sliver."""
        keeper = SliverFolder(self._directory, slice).keeper()
        inside = namespace(keeper.pid, "pid") if keeper is not None and keeper.alive else None
        if inside is None:
            return False
        return ports.answers(ports.listeners(), ports.sockets(members(inside)), address, port)

    def _locked(self, slice: str, work: Callable[[], None]) -> None:
        with self._guard:
            lock = self._locks.setdefault(check_slice_name(slice), threading.RLock())
        with lock:
            work()

    def _create(self, spec: SliverSpec) -> None:
        sliver = SliverFolder(self._directory, spec.slice)
        record = sliver.record()
        if record is None or record.slice_id != spec.slice_id:
            self._delete(spec.slice)
            self._make(sliver, spec)
        self._start(spec.slice)

    def _make(self, sliver: SliverFolder, spec: SliverSpec) -> None:
        record = Record.of(spec, self._give_uid(spec))
        try:
            sliver.make(record.host_uid)
            etc.write_etc(sliver.etc, etc.Names(record.slice, record.hostname))
            etc.write_slice_key(sliver.etc, spec.private_key, spec.public_key, record.host_uid)
            sliver.write(record)
        finally:
            self._given.discard(record.host_uid or 0)

    def _give_uid(self, spec: SliverSpec) -> int | None:
        """The host user of a new sliver: the one asked for, else the next free one, else our own."""
        if self._uids is None or spec.host_uid is not None:
            return spec.host_uid if os.geteuid() == 0 else None
        with self._guard:
            taken = {record.host_uid for record in self._records() if record.host_uid is not None}
            uid = hostuids.first_free(self._uids, taken | self._given)
            self._given.add(uid)  # until its record is there
            return uid

    def _start(self, slice: str) -> None:
        sliver, record = self._existing(slice)
        keeper = sliver.keeper()
        if keeper is not None and keeper.alive:
            return
        etc.write_etc(sliver.etc, etc.Names(record.slice, record.hostname))
        folders = Folders(sliver.home, sliver.tmp, sliver.etc, self._ssh, etc.python_folder())
        prefix, view = staged(entries(slice, folders), record.host_uid)
        hostname = record.hostname.replace("_", "-")
        keeper = launch([*prefix, *self.keeper_command(hostname, view)], self._mark + slice)
        try:
            _close_user_namespaces(keeper.pid, record.host_uid)
            if self._cgroups:
                limits = {"memory_mb": record.memory_mb, "processes": record.processes}
                self._cgroups.hold(slice, keeper.pid, **limits)
            sliver.write_keeper(keeper)
        except BaseException:
            keeper.kill()
            raise

    def _stop(self, slice: str) -> None:
        sliver = SliverFolder(self._directory, slice)
        keeper = sliver.keeper()
        if keeper is None:
            return
        inside = namespace(keeper.pid, "pid")
        if keeper.alive and inside:
            keeper.kill(unblock=lambda: cut_off(entrants(inside)))
        sliver.write_keeper(None)
        if self._cgroups:
            self._cgroups.drop(slice)

    def _delete(self, slice: str) -> None:
        sliver = SliverFolder(self._directory, slice)
        record = sliver.record()
        self._stop(slice)
        sliver.remove(record.host_uid if record else None)

    def _set_limits(self, slice: str, memory_mb: int, processes: int) -> None:
        sliver, record = self._existing(slice)
        sliver.write(dataclasses.replace(record, memory_mb=memory_mb, processes=processes))
        if self._cgroups:
            self._cgroups.limit(slice, memory_mb=memory_mb, processes=processes)

    def _set_slice_key(self, slice: str, private_key: str, public_key: str) -> None:
        sliver, record = self._existing(slice)
        etc.write_slice_key(sliver.etc, private_key, public_key, record.host_uid)

    def _usage(self, slice: str) -> Usage:
        sliver, _record = self._existing(slice)
        keeper = sliver.keeper()
        inside = namespace(keeper.pid, "pid") if keeper is not None and keeper.alive else None
        pids = members(inside) if inside else []
        return Usage(processes=len(pids), memory_mb=-(-sum(map(resident_kib, pids)) // 1024))

    def _existing(self, slice: str) -> tuple[SliverFolder, Record]:
        sliver = SliverFolder(self._directory, slice)
        record = sliver.record()
        if record is None:
            raise Refusal(Code.NOT_FOUND, f"there is no sliver of {slice} on this node")
        return sliver, record

    def _records(self) -> Sequence[Record]:
        names = [path.parent.name for path in self._directory.glob("[a-z]*/sliver.json")]
        return [record for name in names if (record := SliverFolder(self._directory, name).record())]

    def _end_strays(self) -> None:
        """What an earlier node manager left: sessions with nobody at their other end, and keepers that it started and
        died before recording. Daemons in slivers stay."""
        keepers = [SliverFolder(self._directory, record.slice).keeper() for record in self._records()]
        alive = [keeper for keeper in keepers if keeper is not None and keeper.alive]
        for pid in first_processes(self._mark).keys() - {keeper.pid for keeper in alive}:
            Process.of(pid).kill()
        strays = [pid for keeper in alive for pid in entrants(namespace(keeper.pid, "pid") or "")]
        groups = [group for pid in strays for group in hang_up(pid)]
        if strays:
            timer = threading.Timer(HANGUP_SECONDS, finish, [strays, groups])
            timer.daemon = True
            timer.start()


def _close_user_namespaces(keeper: int, host_uid: int | None) -> None:
    """Forbid new user namespaces inside: the part of the kernel that unprivileged users break most often."""
    limit = "/proc/sys/user/max_user_namespaces"
    join = [program("nsenter"), "--preserve-credentials", "-U", "-t", str(keeper), "--"]
    done = subprocess.run(
        [*as_host_user(host_uid), *join, "/bin/sh", "-c", f"echo 0 > {limit}"],
        env=HELPER_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-200:]
        raise Refusal(Code.INTERNAL, f"the sliver's user namespaces cannot be closed: {words}")
