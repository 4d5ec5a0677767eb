"""`dslice up`: from a plan to a running supervisor, in the foreground or detached."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from testbed import leftovers
from testbed.addresses import AddressTakenError, Claim, claim_network, claim_port
from testbed.daemons import PORTS, Layout
from testbed.embedded import Postgres, StartError, Valkey
from testbed.home import Home, HomeError, Lock, Plan
from testbed.supervisor import InterruptedStartError, Supervisor

UP = b"up"
INTERRUPTED = 130


def serve(home: Home, plan: Plan, up: Callable[[], None]) -> int:
    """Run a testbed in this process until it is told to end; `up` is called once everything answers.

    Returns an exit status, 130 when it was told to end before it was up. HomeError, AddressTakenError or StartError
    when it does not come up. All of it has ended then.
    """
    lock = Lock(home)
    if not lock.take():
        raise HomeError(
            f"this testbed is up already (process {lock.holder()}): see 'dslice ps', end it with 'dslice down'"
        )
    claim = Claim()
    try:
        placed = _place(claim, plan)
        home.keep_plan(placed)
        return _supervise(home, placed, claim, up)
    finally:
        claim.release()
        lock.release()


def detach(home: Home, plan: Plan) -> None:
    """The same in a session of its own; returns once everything answers. HomeError with the reason when it does not."""
    read, write = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os._exit(_detached(home, plan, write))
    os.close(write)
    try:
        with os.fdopen(read, "rb") as pipe:
            said = pipe.readline().strip()
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)  # what was not wanted to the end is ended
        os.waitpid(pid, 0)
        raise
    if said != UP:
        raise HomeError(said.decode() or f"the supervisor ended without a word: see {home.logs / 'supervisor.log'}")


def _detached(home: Home, plan: Plan, write: int) -> int:
    os.setsid()
    empty = os.open(os.devnull, os.O_RDONLY)
    log = os.open(home.logs / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((empty, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir(home.directory)

    def say(what: bytes) -> None:
        with suppress(BrokenPipeError):  # whoever waited has been interrupted
            os.write(write, what + b"\n")
        os.close(write)

    try:
        status = serve(home, plan, lambda: say(UP))
        if status == INTERRUPTED:
            say(b"told to end before everything was up")
        return status
    except (HomeError, AddressTakenError, StartError) as error:
        say(str(error).encode())
        return 1


def _supervise(home: Home, plan: Plan, claim: Claim, up: Callable[[], None]) -> int:
    from testbed.bootstrap import prepare

    layout = Layout(home, plan, Postgres(home.service("database")), Valkey(home.service("broker")))
    supervisor = Supervisor(layout, claim, lambda: prepare(layout))
    try:
        supervisor.start()
        up()
        supervisor.run()
    except InterruptedStartError:
        return INTERRUPTED
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends already
        supervisor.stop()
        leftovers.end(home)
    return 0


def _place(claim: Claim, plan: Plan) -> Plan:
    """The plan with its network and ports, all of them held."""
    ports = {name: claim_port(claim, plan.ports.get(name)) for name in PORTS}
    return plan.changed(network=claim_network(claim, plan.network), ports=ports)
