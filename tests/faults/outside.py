"""Troubles that come from outside: a full disk, removals that hang, slivers whose first process died, svmd's database
put back, rubbish in beat's folder, a slice that is made again where its node was away when it was deleted, and stops
that fail."""

import dbm
import json
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

from sqlalchemy.engine import make_url

from nodemgr.slivers.drivers.simulated import STOPPED
from svm.request import Request
from testbed.embedded import server_program
from testbed.home import OTHER_PI
from testbed.simulation.calls import slice_keys
from testbed.simulation.population import API_PORT
from tests.faults import evidence, invariants
from tests.faults.breaking import disk
from tests.faults.breaking.rhythm import until
from tests.faults.invariants import Breach
from tests.faults.life import Life, settled
from tests.faults.runner import CONVERGED_WITHIN, Outcome
from tests.faults.stack import GRACE, Counted, Stack
from trust.errors import Refusal
from trust.sshkeys import new_ssh_key_pair

NODES = 8
DONE_WITHIN = 60
HANGS = 40
"""Seconds that a removal takes, as long as a node lets it; three of them one after another are too late."""
LEASELEN, LATER = 20, 15
_numbers = count(1)


def run_outside(stack: Stack, name: str) -> Outcome:
    """One of `OUTSIDE_CASES`, once."""
    stack.counted, outcome = Counted("outside"), Outcome(name, runs=1)
    life = Life(stack, [f"e{next(_numbers)}"], stack.addresses[:NODES])
    try:
        outcome.note(OUTSIDE[name](stack, life))
        begun = time.monotonic()
        outcome.note(_converged(stack))
        outcome.seconds = time.monotonic() - begun
        outcome.note(_done(life, "deleteslice"))
    except Refusal as refusal:
        outcome.note([Breach("lost", name, refusal.reason)])
    outcome.steps, outcome.kills, outcome.broken = life.steps(), stack.counted.kills, stack.counted.broken
    return outcome


def _removals_hang(stack: Stack, life: Life) -> list[Breach]:
    """Three leases end and their removals hang; a fourth one, which ends meanwhile, is not kept waiting for them."""
    doomed = Life(stack, [f"{life.names[0]}{letter}" for letter in "abc"], life.nodes[:1], leaselen=LEASELEN)
    last = Life(stack, [f"{life.names[0]}d"], life.nodes[:1], leaselen=LEASELEN + LATER)
    found = [*_done(life, "createslice"), *_done(last, "createslice"), *_done(doomed, "createslice")]
    stack.misbehave(life.nodes[0], f"slow-driver={HANGS}")
    stack.counted.broken += 1

    def alive() -> list[evidence.Lease]:
        return [lease for lease in evidence.look(stack).leases if lease.slice in last.names]

    settled(lambda: not alive(), LEASELEN + LATER + GRACE + HANGS)
    found += [Breach("doubled", lease.slice, f"alive {lease.overdue} s after its lease") for lease in alive()]
    stack.misbehave("all", "ok")
    return found


def _disk_full(stack: Stack, life: Life) -> list[Breach]:
    """All nodes' disk is full: rights end, slivers end by deletion and with their leases, and others' go on."""
    doomed = Life(stack, [f"{life.names[0]}a"], life.nodes)
    ending = Life(stack, [f"{life.names[0]}b"], life.nodes, leaselen=3 * LEASELEN)
    found = [*_done(life, "createslice"), *_done(life, "addkey"), *_done(doomed, "createslice")]
    found += _done(ending, "createslice")
    (name,) = stack.names("nodemgr")
    with disk.small(stack, name) as seen:
        if seen is None:
            return found
        stack.counted.broken += 1
        until(lambda: all(_answers(node) for node in life.nodes), DONE_WITHIN)
        with disk.full(seen):
            found += [*_done(life, "delkey"), *_done(doomed, "deleteslice")]
            slivers = [path for one in (doomed, ending) for path in seen.glob(f"*/slivers/{one.names[0]}@*")]
            settled(lambda: not any(path.exists() for path in slivers), 3 * LEASELEN + DONE_WITHIN)
            found += [Breach("doubled", path.name, "I5: alive after its end") for path in slivers if path.exists()]
        # What they took away is written once there is room; a node killed before that would have the leases again.
        if not settled(lambda: not any(seen.glob("*/node.db-behind/*")), DONE_WITHIN):
            found.append(Breach("lost", name, "nodes do not write what they owe, though their disk has room again"))
    return found


def _first_process_dies(stack: Stack, life: Life) -> list[Breach]:
    """Half of the slivers end by themselves: that is seen, and newvms makes them run with the keys that they had."""
    found = [*_done(life, "createslice"), *_done(life, "addkey")]
    dead = life.nodes[: len(life.nodes) // 2]
    for _, address, folder in stack.node_folders():
        if address in dead:
            for path in (folder / "slivers").glob(f"{life.names[0]}@*"):
                path.unlink()
                stack.counted.kills += 1

    def seen() -> bool:
        stack.knock("reconcile-all")
        return set(_states(stack, life, "stopped")) >= set(dead)

    if not settled(seen, CONVERGED_WITHIN, pause=2):
        found.append(Breach("lost", life.names[0], "slivers that have ended are said to run"))
    life.accepted(Request("newvms", life.names[0]))
    if not settled(lambda: not life.open() and len(_states(stack, life, "running")) == len(life.nodes), DONE_WITHIN):
        found.append(Breach("lost", life.names[0], "newvms does not make slivers run again"))
    return found + _keys_differ(stack, life)


def _svmd_put_back(stack: Stack, life: Life) -> list[Breach]:
    """svmd's database is of before two keys came; a third one is added, and nodes have what svmd lists."""
    found = [*_done(life, "createslice"), *_done(life, "addkey")]
    dump = stack.folder / "svm.dump"
    _postgres(stack, "pg_dump", "--format=custom", "--data-only", "--schema=svm", f"--file={dump}")
    for _ in range(2):
        life.keys = (*life.keys, new_ssh_key_pair("later")[1])
        found += _done(life, "addkey")
    stack.counted.kills += 1
    with _without(stack, [*stack.names("worker"), "beat", "svmd"]):
        with stack.connect() as database:
            query = "SELECT string_agg(format('svm.%I', tablename), ', ') FROM pg_tables WHERE schemaname = 'svm'"
            (tables,) = database.execute(query).fetchone() or ("",)
            database.execute(f"TRUNCATE {tables}".encode())
        _postgres(stack, "pg_restore", "--data-only", "--single-transaction", str(dump))
    life.keys = (*life.keys[:2], new_ssh_key_pair("last")[1])

    def mended() -> bool:
        if _keys_differ(stack, life) and not life.open():
            life.ask("addkey", life.names)
            stack.knock("reconcile-all")
        return not life.open() and not _keys_differ(stack, life)

    life.ask("addkey", life.names)
    settled(mended, DONE_WITHIN, pause=2)
    return found + _keys_differ(stack, life)


def _beat_finds_rubbish(stack: Stack, life: Life) -> list[Breach]:
    """beat is killed and finds rubbish where it keeps what it knows; it goes on giving the rhythm."""
    found = _done(life, "createslice")
    folder = Path(stack.environment("beat")["DSLICE_STATE_DIR"])
    with _without(stack, ["beat"]):
        # A record that was torn, in a file that is whole.
        with dbm.open(str(folder / "beat-schedule"), "c") as kept:
            for key in (b"entries", b"tz", b"utc_enabled", b"__version__"):
                kept[key] = b"\x80\x04torn"
        stack.counted.broken += 1
    with stack.connect() as database:
        (before,) = database.execute("SELECT coalesce(max(started_at), now()) FROM svm.operation").fetchone() or (None,)

    def knocked() -> bool:
        with stack.connect() as database:
            query = "SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND started_at > %s"
            return database.execute(query, [before]).fetchone() is not None

    if not settled(knocked, DONE_WITHIN):
        found.append(Breach("lost", "beat", "nothing is done in its rhythm any more"))
        for path in folder.glob("beat*"):
            path.unlink()
        stack.start("beat")
    return found


def _made_again(stack: Stack, life: Life) -> list[Breach]:
    """A node is away while its slice is deleted; it is back, and the same slice is made again at once."""
    found = _done(life, "createslice")
    away = life.nodes[0]
    stack.misbehave(away, "refuse")
    stack.counted.broken += 1
    life.ask("deleteslice", life.names)
    settled(lambda: not life.open(), DONE_WITHIN)
    stack.misbehave(away, "ok")
    life.ask("createslice", life.names)
    settled(lambda: not life.open(), DONE_WITHIN)
    with stack.connect() as database:
        query = "SELECT verb, reason FROM svm.operation WHERE slice_name = %s ORDER BY started_at DESC LIMIT 1"
        _, reason = database.execute(query, [life.names[0]]).fetchone() or ("", "")
    if life.undone("createslice"):
        found.append(Breach("lost", life.names[0], f"it is not made where it was before: {reason}"))
    return found


def _stops_fail(stack: Stack, life: Life) -> list[Breach]:
    """plc stops an owner while no node can stop anything; once they can, all of the owner's slivers are stopped."""
    theirs = Life(stack, [f"{life.names[0]}a"], life.nodes, leaselen=3 * LEASELEN, owner=OTHER_PI)
    found = [*_done(life, "createslice"), *_done(theirs, "createslice")]
    stack.misbehave("all", "failing-driver")
    stack.counted.broken += 1
    stack.dslice("plc", "disable", OTHER_PI, "--stop", "--reason", "a case of the harness")

    def heard() -> bool:
        stores = [folder / "node.db" for _, address, folder in stack.node_folders() if address in life.nodes]
        return all(_asked(store, "SELECT owner FROM stopped") for store in stores)

    def going(slices: Life) -> list[str]:
        slivers = [
            path for _, _, folder in stack.node_folders() for path in folder.glob(f"slivers/{slices.names[0]}@*")
        ]
        return [str(path) for path in slivers if path.read_text() != STOPPED]

    if not settled(heard, DONE_WITHIN) or not going(theirs):
        found.append(Breach("lost", theirs.names[0], "nobody was told to stop it while that failed"))
    stack.misbehave("all", "ok")
    if not settled(lambda: not going(theirs), LEASELEN):
        found.append(Breach("lost", theirs.names[0], f"{len(going(theirs))} stops that failed are not repeated"))
    if len(going(life)) != len(life.nodes):
        found.append(Breach("lost", life.names[0], "another owner's slivers were stopped"))
    return found


OUTSIDE: dict[str, Callable[[Stack, Life], list[Breach]]] = {
    "a full disk": _disk_full,
    "removals hang": _removals_hang,
    "slivers whose first process died": _first_process_dies,
    "svmd's database put back from a dump": _svmd_put_back,
    "rubbish in beat's folder": _beat_finds_rubbish,
    "a slice made again where its node was away": _made_again,
    "stops fail": _stops_fail,
}
OUTSIDE_CASES = tuple(OUTSIDE)


def _answers(node: str) -> bool:
    with suppress(OSError), closing(socket.create_connection((node, API_PORT), timeout=1)):
        return True
    return False


@contextmanager
def _without(stack: Stack, names: list[str]) -> Iterator[None]:
    """These are down; they are told to start again, and not waited for."""
    for name in names:
        stack.stop(name)
    until(lambda: not any(stack.pid(name) for name in names), 30)
    try:
        yield
    finally:
        for name in names:
            stack.start(name)


def _postgres(stack: Stack, program: str, *words: str) -> None:
    """A program of PostgreSQL's own, on svmd's database."""
    url = make_url(stack.environment("svmd")["DSLICE_DATABASE_URL"])
    place = [f"--dbname={url.database}", f"--host={url.query['host']}", "--username=svm"]
    subprocess.run(
        [str(server_program(program)), *place, *words],
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )


def _keys_differ(stack: Stack, life: Life) -> list[Breach]:
    """Nodes whose key set is another than svmd lists."""
    with stack.connect() as database:
        query = "SELECT k.line FROM svm.slice_key k JOIN svm.slice x ON x.id = k.slice WHERE x.name = %s"
        wanted = slice_keys([str(line) for (line,) in database.execute(query, [life.names[0]])])
    found = []
    for _, address, folder in stack.node_folders():
        if address in life.nodes:
            rows = _asked(folder / "node.db", "SELECT keys FROM lease WHERE slice = ?", life.names[0])
            if not rows or slice_keys(json.loads(rows[0][0])) != wanted:
                found.append(Breach("lost", f"{life.names[0]} on {address}", "its keys are not those that svmd lists"))
    return found


def _asked(store: Path, query: str, *values: str) -> list[tuple[str, ...]]:
    """What a node's own database says."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(query, values).fetchall()


def _states(stack: Stack, life: Life, state: str) -> list[str]:
    with stack.connect() as database:
        query = """SELECT v.node FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
                   WHERE x.name = %s AND x.state = 'open' AND v.state = %s"""
        return [str(node) for (node,) in database.execute(query, [life.names[0], state])]


def _done(life: Life, verb: str) -> list[Breach]:
    life.ask(verb, life.names)
    if settled(lambda: not life.open() and not life.undone(verb), DONE_WITHIN):
        return []
    return [Breach("lost", life.names[0], f"{verb} has not done all of its work")]


def _converged(stack: Stack) -> list[Breach]:
    found: list[Breach] = []

    def agreed() -> bool:
        nonlocal found
        for job in ("reconcile-all", "clean"):
            stack.knock(job)
        found = invariants.breaches(evidence.look(stack), grace=GRACE)
        return not found

    settled(agreed, DONE_WITHIN, pause=2)
    return found
