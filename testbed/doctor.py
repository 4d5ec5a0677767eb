"""`dslice doctor`: what this machine lacks, and what is wrong with the testbed that runs on it."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any

from nodemgr.slivers.process import ownids
from svm.checks import Check
from testbed import control, leftovers
from testbed.daemons import real_nodes, simulated_nodes, url
from testbed.embedded import Postgres
from testbed.home import CERTIFIED, Home, HomeError, Lock, Plan
from trust.errors import Refusal

# What each program is for, and the Debian package that has it.
PROGRAMS = (
    ("bwrap", "slivers without root inside (else unshare makes them)", "bubblewrap"),
    ("newuidmap", "root inside slivers where the node manager is not root", "uidmap"),
    ("unshare", "slivers, and PostgreSQL as root", "util-linux"),
    ("nsenter", "logging in to slivers", "util-linux"),
    ("setpriv", "logging in to slivers", "util-linux"),
    ("ssh", "logging in to nodes", "openssh-client"),
    ("scp", "copying files to nodes", "openssh-client"),
    ("ssh-keygen", "making SSH keys", "openssh-client"),
)
OPTIONAL = ("bwrap", "newuidmap")
LISTED_SECONDS = 1  # until what an agent has just heard is in its list (agent/board.py)
NAMED = 20  # nodes that are missing, in one line
MOST_SKEW = 5  # seconds between two clocks
CERTIFICATE_LEFT = timedelta(hours=1)


def examine(home: Home) -> list[Check]:
    """Programs and the kernel first, then the testbed in `home` if there is one."""
    checks = [*_programs(), _namespaces(), _root_inside()]
    if not (home.directory / "plan.json").exists():
        return [*checks, Check(True, f"no testbed in {home.directory}")]
    checks += _certificates(home)
    if Lock(home).holder() is None:
        return [*checks, Check(True, f"the testbed in {home.directory} is down"), *_orphans(home)]
    plan = home.plan()
    checks.append(_disk(home))
    return [*checks, *_processes(home), *_plc(home, plan), *_database(home), *on_offer(home, plan)]


def _programs() -> Iterator[Check]:
    for name, use, package in PROGRAMS:
        found = shutil.which(name) is not None
        advice = "" if found else f"apt-get install {package}"
        yield Check(found or name in OPTIONAL, f"{name}, for {use}", advice)


def _namespaces() -> Check:
    what = "user namespaces, for slivers"
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode == 0:
        return Check(True, what)
    why = tried.stderr.strip().splitlines()[-1:] or ["refused"]
    advice = f"{why[0]}; allow them (sysctl kernel.unprivileged_userns_clone=1), or use --sliver simulated"
    return Check(False, what, advice)


def _root_inside() -> Check:
    """What slivers have here (docs/slivers.md, "Drivers")."""
    if os.geteuid() == 0:
        return Check(True, "root inside slivers: they may have ids of their own")
    try:
        ownids.available()
    except Refusal as refusal:
        return Check(True, "no root inside slivers", refusal.reason)
    return Check(True, "root inside slivers, by this user's subordinate ids")


def _certificates(home: Home) -> Iterator[Check]:
    """Services renew by themselves; one that is about to end has failed to."""
    from rpc.credentials import Credentials
    from trust.clock import system_clock

    now = system_clock().now()
    services = sorted(path.parent for path in home.directory.glob("services/*/cert.pem"))
    ended = []
    for folder in [*services, *(home.user(email) for email in CERTIFIED)]:
        credentials = Credentials(folder)
        if not credentials.exists() or credentials.certificate.not_valid_after_utc - now < CERTIFICATE_LEFT:
            ended.append(folder.name)
    what = f"certificates of {len(services)} services and {len(CERTIFIED)} users"
    yield Check(not ended, what, f"ended or about to: {', '.join(ended)}; 'dslice up' enrols again" if ended else "")


def _processes(home: Home) -> Iterator[Check]:
    try:
        rows: Sequence[dict[str, Any]] = control.ask(home, "ps")["processes"]
    except HomeError as error:
        yield Check(False, "the supervisor answers", str(error))
        return
    bad = [f"{row['name']} is {row['state']}" for row in rows if row["state"] != "ready"]
    advice = f"{', '.join(bad)}; see {home.logs}, or 'dslice start NAME'" if bad else ""
    yield Check(not bad, f"{len(rows)} processes", advice)


def _disk(home: Home) -> Check:
    """The one that all nodes of a testbed share."""
    from nodemgr.settings import CommonSettings

    least = CommonSettings.model_fields["disk_floor_mb"].default
    free = shutil.disk_usage(home.directory).free >> 20
    what = f"{free} MiB free on the disk of {home.directory}"
    return Check(free >= least, what, "" if free >= least else "nodes take no new slivers: make room")


def _plc(home: Home, plan: Plan) -> Iterator[Check]:
    """plc answers, and its clock, which stands in the revocation list, is ours."""
    from plc.client import Plc
    from trust.certificates import certificate_from_pem
    from trust.clock import system_clock
    from trust.revocation import RevocationList

    pem = home.ca_file.read_text()
    try:
        plc = Plc(url(plan, "plc"), ca_pem=pem)
        found = RevocationList.parse(plc.crl(), certificate_from_pem(pem.encode()))
        directory = plc.directory()
        plc.close()
    except Refusal as refusal:
        yield Check(False, "plc answers", refusal.reason)
        return
    age = int((system_clock().now() - found.this_update).total_seconds())
    fresh = -MOST_SKEW <= age <= 120
    yield Check(fresh, f"plc's revocation list is {age} s old", "" if fresh else "compare the clocks of plc and here")
    listed = bool(directory.svmd and directory.agents)
    yield Check(listed, "plc lists svmd and an agent", "" if listed else "see logs/svmd.log and logs/agent.log")


def _database(home: Home) -> Iterator[Check]:
    """The database's clock, by which leases end; and slivers that nobody wants any more."""
    import psycopg

    conninfo = Postgres(home.service("database")).url("svm").replace("+psycopg", "")
    try:
        with psycopg.connect(conninfo, connect_timeout=5) as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            known = connection.execute(
                "SELECT node_name || '/' || name FROM svm.sliver JOIN svm.slice ON slice.id = sliver.slice"
                " WHERE sliver.state NOT IN ('expired', 'deleted')"
            ).fetchall()
    except psycopg.Error as error:
        yield Check(False, "the database answers", str(error).strip().splitlines()[0])
        return
    skew = abs(time.time() - row[0]) if row else 0.0
    yield Check(skew < MOST_SKEW, "the database's clock", f"{skew:.0f} s from ours" if skew >= MOST_SKEW else "")
    orphans = sorted(set(leftovers.running(home)) - {str(name) for (name,) in known})
    advice = f"{', '.join(orphans)}: nodes end them with their leases; 'dslice down' ends them now" if orphans else ""
    yield Check(not orphans, "no orphaned slivers", advice)


def on_offer(home: Home, plan: Plan) -> Iterator[Check]:
    """Every node that the plan has is on offer at svmd, and has room on its disk."""
    try:
        nodes, found = _advertised(home, plan)
        if not found.ok:
            time.sleep(LISTED_SECONDS)
            nodes, found = _advertised(home, plan)
    except HomeError as error:
        yield Check(False, "svm getads answers", str(error))
        return
    yield found
    kinds = Counter((row.get("driver"), row.get("quota")) for row in nodes if not row.get("simulated"))
    for (driver, quota), number in sorted(kinds.items(), key=str):
        yield Check(True, f"slivers of {number} nodes: {driver}, their disks {quota}")
    full = [str(row["address"]) for row in nodes if row.get("disk_free_mb") == 0]
    yield Check(not full, "no node's disk is full", f"{', '.join(full)}: delete files there" if full else "")


def _advertised(home: Home, plan: Plan) -> tuple[list[dict[str, Any]], Check]:
    """The rows of `svm getads`, and whether all nodes are there. HomeError with its reason when it refuses."""
    import json

    from testbed.home import PI
    from testbed.shell import programs, settings

    asked = subprocess.run(
        [str(programs() / "svm"), "--json", "getads"],
        env={**settings(home, PI), "PATH": str(programs())},
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in asked.stdout.splitlines() if line.startswith("{")]
    for row in rows:
        if row.get("type") == "error":
            raise HomeError(str(row["reason"]))
    nodes = [row for row in rows if row.get("type") == "row"]
    return nodes, _missing(plan, {str(row["address"]) for row in nodes}, asked.stderr.strip()[-200:])


def _missing(plan: Plan, advertised: Collection[str], said: str) -> Check:
    """Which nodes of the plan are not on offer."""
    planned = (*real_nodes(plan), *simulated_nodes(plan))
    missing = [f"{node.name} ({node.address})" for node in planned if node.address not in advertised]
    what = f"{len(planned) - len(missing)} of {len(planned)} nodes are advertised"
    if not missing:
        return Check(True, what)
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    advice = f"missing: {', '.join(missing[:NAMED])}{more}; dslice nodes --silent says since when {said}".rstrip()
    return Check(False, what, advice)


def _orphans(home: Home) -> Iterator[Check]:
    running = leftovers.running(home)
    advice = f"{', '.join(running)}: 'dslice down' ends them" if running else ""
    yield Check(not running, "no slivers without a testbed", advice)
