"""The process that runs a testbed: starts the daemons, starts again what dies, ends all of it in order.

It has one thread and no event loop but its own, so that it may fork (testbed.forking). Whoever starts it gets its
news through `announce`; whoever is outside asks through the control socket.
"""

import gc
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from admin import roles
from testbed import control, forking
from testbed.addresses import Claim
from testbed.daemons import OURS, Layout, Spec
from testbed.embedded import Postgres, StartError, Valkey
from testbed.logs import rotate

START_TIMEOUT = 90  # seconds for any one stage of the start …
START_TIMEOUT_PER_NODE = 1  # … and more for each node, which all enrol at plc
STOP_TIMEOUT = {"worker": 20, "database": 15}  # seconds between asking and killing
STOP_TIMEOUT_OTHERS = 8
MOST_DEATHS_AT_START = 3
LIVED_LONG = 30  # seconds after which a death counts as the first one again
# Who goes when: those who act first, then those who are acted upon, then what all need.
STOP_ORDER = (("beat", "flower"), ("worker", "svmd"), ("nodemgr", "agent"), ("plc", "mail"), ("broker", "database"))


class InterruptedStartError(StartError):
    """Somebody pressed Ctrl-C, or said `dslice down`, before everything was up."""


def delay_before_restart(deaths: int) -> float:
    """Seconds to wait before the next start, after `deaths` deaths in a row: 0.2, 0.4, … at most 10."""
    return min(10.0, 0.1 * float(2**deaths))


@dataclass(slots=True)
class Daemon:
    """One process of the testbed as it goes: `wanted` until somebody stops it, `due` when it is to be started again."""

    spec: Spec
    pid: int | None = None
    stdout: int | None = None
    ready: bool = False
    wanted: bool = True
    deaths: int = 0
    started: float = 0.0
    due: float | None = None
    text: bytes = b""

    def row(self) -> dict[str, object]:
        """As `dslice ps` shows it."""
        return {
            "name": self.spec.name,
            "role": self.spec.role,
            "pid": self.pid,
            "address": self.spec.address,
            "nodes": list(self.spec.nodes),
            "state": "ready" if self.ready else "starting" if self.pid else "stopped" if not self.wanted else "dead",
        }


@dataclass(slots=True)
class Supervisor:
    """Runs the daemons of one layout. `claim` holds the addresses; `prepare` is plc's first setting-up, in a child."""

    layout: Layout
    claim: Claim
    prepare: Callable[[], None]
    daemons: dict[str, Daemon] = field(default_factory=dict)
    ending: bool = False
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _control: control.Server | None = None
    _wakeup: tuple[int, int] = (-1, -1)

    def start(self) -> None:
        """Start everything and wait until it answers. StartError says what did not."""
        self._listen()
        self.layout.database.begin()
        forking.import_shared()  # meanwhile
        for server in self.layout.servers():
            self._add(server)
        self._ready_servers()
        self._heed_end()
        gc.collect()
        gc.freeze()  # pages of what is imported stay shared with the children
        self._add(self.layout.mail())
        self._prepare()
        self._heed_end()
        self._add(self.layout.plc())
        self._until(lambda: self.daemons["plc"].ready, "plc")
        for spec in self.layout.others():
            self._add(spec)
        self._until(lambda: all(daemon.ready for daemon in self.daemons.values()), "everything")

    def run(self) -> None:
        """Look after them until somebody asks to end."""
        while not self.ending:
            self._turn(60)
            rotate(self.layout.home.logs)

    def stop(self) -> None:
        """End everything, in order; afterwards no process of this testbed is left."""
        self.ending = True
        for daemon in self.daemons.values():
            daemon.wanted, daemon.due = False, None
        for roles_of_turn in STOP_ORDER:
            self._stop_all([daemon for daemon in self.daemons.values() if daemon.spec.role in roles_of_turn])
        if self._control:
            self._control.close()

    # The two servers and plc's first setting-up

    def _ready_servers(self) -> None:
        self.layout.database.wait()
        self.layout.broker.wait()
        for name in ("database", "broker"):
            self.daemons[name].ready = True

    def _prepare(self) -> None:
        """In a child, so that no connection and no thread of it stays here."""
        log = self.layout.home.logs / "setup.log"
        child = forking.fork("setup", self.prepare, env={}, log=log, leave=self._leave())
        os.close(child.stdout)
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if status:
            raise StartError(f"setting up plc failed: {last_line(log)} (see {log})")

    # One process

    def _add(self, spec: Spec) -> None:
        self.daemons[spec.name] = Daemon(spec)
        self._spawn(self.daemons[spec.name])

    def _spawn(self, daemon: Daemon) -> None:
        daemon.due, daemon.ready, daemon.text = None, False, b""
        daemon.started = time.monotonic()
        server = self._server_of(daemon)
        if server is not None:
            daemon.pid = server.spawn().pid
            daemon.ready = daemon.deaths > 0  # the first time `_ready_servers` waits for it
            return
        spec = daemon.spec
        child = forking.fork(
            spec.name,
            partial(roles.run, spec.run),
            env=spec.env,
            log=self.layout.home.logs / f"{spec.name}.log",
            leave=self._leave(),
        )
        daemon.pid, daemon.stdout = child.pid, child.stdout
        self._selector.register(child.stdout, selectors.EVENT_READ, daemon)

    def _server_of(self, daemon: Daemon) -> Postgres | Valkey | None:
        return {"database": self.layout.database, "broker": self.layout.broker}.get(daemon.spec.name)  # type: ignore[return-value]

    def _leave(self) -> list[Callable[[], None]]:
        """What a child closes of ours."""
        pipes = [daemon.stdout for daemon in self.daemons.values() if daemon.stdout is not None]
        closing: list[Callable[[], None]] = [self._selector.close, self.claim.release]
        closing += [lambda fd=fd: os.close(fd) for fd in (*pipes, *self._wakeup)]  # type: ignore[misc]
        if self._control:
            closing.append(self._control.leave)
        return closing

    def _ended(self, daemon: Daemon) -> None:
        daemon.pid, daemon.ready = None, False
        self._drop_stdout(daemon)
        if not daemon.wanted:
            return
        if time.monotonic() - daemon.started > LIVED_LONG:
            daemon.deaths = 0
        daemon.deaths += 1
        daemon.due = time.monotonic() + delay_before_restart(daemon.deaths)

    def _stop_all(self, daemons: Iterable[Daemon]) -> None:
        waiting = [daemon for daemon in daemons if daemon.pid]
        for daemon in waiting:
            _kill(daemon.pid, signal.SIGINT if daemon.spec.role == "database" else signal.SIGTERM)
        longest = max((STOP_TIMEOUT.get(d.spec.role, STOP_TIMEOUT_OTHERS) for d in waiting), default=0)
        deadline = time.monotonic() + longest
        while any(daemon.pid for daemon in waiting) and time.monotonic() < deadline:
            self._turn(deadline - time.monotonic())
        for daemon in waiting:
            _kill(daemon.pid, signal.SIGKILL)
        while any(daemon.pid for daemon in waiting):
            self._turn(1)

    # The loop

    def _listen(self) -> None:
        forking.adopt_orphans()
        for name in OURS & os.environ.keys():
            del os.environ[name]
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = (read, write)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told_to_end)
        self._selector.register(read, selectors.EVENT_READ, None)
        self._control = control.Server(self.layout.home)
        self._selector.register(self._control, selectors.EVENT_READ, self._control)

    def _told_to_end(self, *_: object) -> None:
        self.ending = True

    def _heed_end(self) -> None:
        if self.ending:
            raise InterruptedStartError("told to end before everything was up")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        longest = START_TIMEOUT + START_TIMEOUT_PER_NODE * (self.layout.plan.nodes + self.layout.plan.simulated)
        deadline = time.monotonic() + longest
        while not condition():
            self._heed_end()
            self._turn(max(0.0, deadline - time.monotonic()))
            tired = [daemon for daemon in self.daemons.values() if daemon.deaths >= MOST_DEATHS_AT_START]
            slow = [daemon for daemon in self.daemons.values() if not daemon.ready]
            if tired or time.monotonic() > deadline:
                raise StartError(self._why_not((tired or slow)[0], what, longest))

    def _why_not(self, daemon: Daemon, what: str, longest: int) -> str:
        log = self.layout.home.logs / f"{daemon.spec.name}.log"
        how = f"ended {daemon.deaths} times" if daemon.deaths else f"gave no answer in {longest} s"
        return f"{daemon.spec.name} {how} while {what} was to come up: {last_line(log)} (see {log})"

    def _turn(self, longest: float) -> None:
        """Wait for news for at most `longest` seconds, then do what is to be done."""
        now = time.monotonic()
        due = [daemon.due - now for daemon in self.daemons.values() if daemon.due is not None]
        for key, _ in self._selector.select(max(0.0, min([longest, *due]))):
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(key.fd, 4096)
            elif isinstance(key.data, Daemon):
                self._read(key.data)
            elif request := key.data.accept():
                self._answer(request)
        self._reap()
        for daemon in self.daemons.values():
            if daemon.due is not None and daemon.due <= time.monotonic():
                self._spawn(daemon)

    def _reap(self) -> None:
        """Wait for whoever has ended: daemons, and orphans that the kernel gave us."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            daemon = next((d for d in self.daemons.values() if d.pid == found.si_pid), None)
            server = self._server_of(daemon) if daemon else None
            if server is None:
                os.waitpid(found.si_pid, 0)
            elif server.pid is not None:  # asking reaps it
                continue
            if daemon:
                self._ended(daemon)

    def _read(self, daemon: Daemon) -> None:
        """A daemon's stdout: the line `ready ADDRESS` when it answers; anything else belongs into its log."""
        assert daemon.stdout is not None  # noqa: S101
        try:
            found = os.read(daemon.stdout, 65_536)
        except BlockingIOError:
            return
        if not found:
            self._drop_stdout(daemon)
            return
        *lines, daemon.text = (daemon.text + found).split(b"\n")
        for line in lines:
            if line.startswith(b"ready"):
                daemon.ready = True
            else:
                with (self.layout.home.logs / f"{daemon.spec.name}.log").open("ab") as log:
                    log.write(line + b"\n")

    def _drop_stdout(self, daemon: Daemon) -> None:
        if daemon.stdout is not None:
            self._selector.unregister(daemon.stdout)
            os.close(daemon.stdout)
            daemon.stdout = None

    # What others ask

    def _answer(self, request: control.Request) -> None:
        if request.verb == "ps":
            request.answer(pid=os.getpid(), processes=[daemon.row() for daemon in self.daemons.values()])
        elif request.verb == "down":
            self.ending = True
            request.answer(pid=os.getpid())
        elif request.name not in self.daemons:
            request.refuse(f"no process called {request.name}; there are {', '.join(self.daemons)}")
        elif request.verb == "stop":
            self._stop_one(self.daemons[request.name])
            request.answer()
        elif request.verb == "start":
            self._start_one(self.daemons[request.name])
            request.answer()
        else:
            request.refuse(f"no verb {request.verb}")

    def _stop_one(self, daemon: Daemon) -> None:
        daemon.wanted, daemon.due = False, None
        _kill(daemon.pid, signal.SIGINT if daemon.spec.role == "database" else signal.SIGTERM)

    def _start_one(self, daemon: Daemon) -> None:
        daemon.wanted = True
        if daemon.pid is None:
            daemon.deaths = max(daemon.deaths, 1)
            daemon.due = time.monotonic()


def last_line(log: os.PathLike[str]) -> str:
    """The last thing that a daemon said."""
    try:
        with open(log, errors="replace") as lines:
            found = [line.strip() for line in lines if line.strip()]
    except OSError:
        found = []
    return found[-1][-300:] if found else "it said nothing"


def _kill(pid: int | None, number: int) -> None:
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
