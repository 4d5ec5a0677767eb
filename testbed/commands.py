"""What the testbed adds to `dslice`: up, down, demo and the like (entry points of the group `dslice.verbs`)."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from testbed.home import PI, Home, HomeError, Lock

DRIVERS = ("auto", "machine", "bubblewrap", "unshare", "podman", "simulated")
DOWN_TIMEOUT = 60  # seconds that `dslice down` waits for the supervisor
INTERRUPTED = 130  # exit status
LONGEST_LINE = 10_000  # characters of `dslice doctor`, which lists many processes in one
SETTLE_TIMEOUT = 30  # seconds that `dslice stop` and `start` wait
STAYS_SECONDS = 1  # that a process must go on after it said that it is ready, before `dslice start` believes it

home_option = click.option(
    "--home",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The testbed's folder (default: $DSLICE_HOME, else .dslice here).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


class Verb(click.Command):
    """One verb: errors are one line."""

    def invoke(self, context: click.Context) -> Any:
        from testbed.addresses import AddressTakenError
        from testbed.embedded import StartError

        try:
            return super().invoke(context)
        except (HomeError, AddressTakenError, StartError) as error:
            raise click.ClickException(str(error)) from error


verb = partial(click.command, cls=Verb)


@verb()
@home_option
@click.option("--nodes", type=click.IntRange(0, 250), help="Nodes with real slivers (default 8, or as last time).")
@click.option("--workers", type=click.IntRange(1, 64), help="Celery workers (default 1).")
@click.option("--sliver", type=click.Choice(DRIVERS), help="How the nodes make slivers (default auto).")
@click.option("--simulated", type=click.IntRange(0, 10_000), help="Simulated nodes beside them (default 0).")
@click.option("--latency", type=click.IntRange(0, 60_000), metavar="MS", help="Answer time of simulated nodes.")
@click.option("--detach", is_flag=True, help="Return once everything answers, and leave it running.")
def up(folder: Path | None, detach: bool, **wanted: object) -> None:
    """Start a testbed, or the one that is there.

    Ctrl-C or `dslice down` ends it.
    """
    from testbed import starting

    home = Home.find(folder)
    home.make()
    begun = time.monotonic()
    if not detach:
        status = starting.serve(home, home.plan().changed(**wanted), lambda: _started(home, begun))
        if status == INTERRUPTED:
            click.echo("Interrupted before it was up; nothing is left running.", err=True)
        sys.exit(status)
    starting.detach(home, home.plan().changed(**wanted))
    _started(home, begun)


def _started(home: Home, begun: float) -> None:
    from testbed.daemons import FLOWER, url
    from testbed.doctor import on_offer
    from testbed.shell import programs, shown

    plan = home.plan()
    real = f"{plan.nodes} node{'' if plan.nodes == 1 else 's'}"
    nodes = real + (f", {plan.simulated} simulated" if plan.simulated else "")
    click.echo(f"PlanetLab is up in {time.monotonic() - begun:.1f} s: {nodes}.", err=True)
    # Each says that it is ready once an agent has it, or after a minute without one.
    for check in on_offer(home, plan):
        if not check.ok:
            click.echo(check.line(LONGEST_LINE), err=True)
    click.echo("Now type:", err=True)
    chosen = "" if home == Home.find(None) else f" --home {shown(home.directory)}"
    # Who has no `dslice` in PATH yet has started this one by its path; what the lines of `env` put there is this too.
    known = shutil.which("dslice") is not None
    dslice = "dslice" if known else shown(programs() / "dslice")
    click.echo(f'  eval "$({dslice} env{chosen})"; svm getads', err=True)
    click.echo(f"Flower: {url(plan, FLOWER)}, user {FLOWER} ({dslice} password {FLOWER}{chosen}).", err=True)


@verb()
@home_option
@click.option("--as", "email", default=PI, metavar="EMAIL", help=f"Which account (default {PI}).")
def env(folder: Path | None, email: str) -> None:
    """Print what makes a shell use this testbed.

    To use it: eval "$(dslice env)"
    """
    from testbed.shell import exports

    for line in exports(_existing(folder), email):
        click.echo(line)


@verb()
@home_option
@json_option
def ps(folder: Path | None, as_json: bool) -> None:
    """List the processes of the running testbed."""
    from testbed import control
    from testbed.shell import process_table

    rows = control.ask(_existing(folder), "ps")["processes"]
    if as_json:
        named = [row for row in rows if row["role"] != "mail"]
        click.echo(json.dumps([{k: row[k] for k in ("name", "role", "pid", "address", "nodes")} for row in named]))
        return
    for line in process_table(rows):
        click.echo(line)


@verb()
@home_option
def down(folder: Path | None) -> None:
    """End the testbed and all its slivers.

    What it knows stays for the next `dslice up`.
    """
    from testbed import leftovers

    home = _existing(folder)
    running = Lock(home).holder()
    if running is not None:
        _wait(lambda: _told_to_end(home), DOWN_TIMEOUT, f"process {running} does not listen: see {home.logs}")
        _wait(lambda: Lock(home).holder() is None, DOWN_TIMEOUT, f"process {running} does not end: see {home.logs}")
    ended = leftovers.end(home)
    if running is None and not ended:
        click.echo(f"Nothing runs in {home.directory}.", err=True)


@verb()
@click.argument("name")
@home_option
def stop(name: str, folder: Path | None) -> None:
    """End one process, which stays down until `dslice start`."""
    from testbed import control

    home = _existing(folder)
    control.ask(home, "stop", name)
    _wait(lambda: _process(home, name)["pid"] is None, SETTLE_TIMEOUT, f"{name} does not end: see {home.logs}")


@verb()
@click.argument("name")
@home_option
def start(name: str, folder: Path | None) -> None:
    """Start a process again that `dslice stop` ended.

    Exit status 0 once it answers, and has not ended within the next second.
    """
    from testbed import control

    home = _existing(folder)
    control.ask(home, "start", name)
    try:
        _wait(lambda: _process(home, name)["state"] == "ready", SETTLE_TIMEOUT, f"{name} gives no answer")
    except HomeError as error:
        raise HomeError(f"{error}: {_said_last(home, name)}") from error
    _stays(home, name)


@verb()
@click.argument("name")
@home_option
@click.pass_context
def restart(context: click.Context, name: str, folder: Path | None) -> None:
    """End a process and start it again."""
    context.invoke(stop, name=name, folder=folder)
    context.invoke(start, name=name, folder=folder)


@verb()
@click.argument("names", nargs=-1, metavar="[NAME|ROLE]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The lines as they were written.")
@home_option
def logs(names: tuple[str, ...], folder: Path | None, follow: bool, as_json: bool) -> None:
    """Show what daemons have said, oldest first: all, or those named."""
    from testbed.logs import lines, logs_of

    for line in lines(logs_of(_existing(folder), names), follow=follow, as_json=as_json):
        click.echo(line)


@verb()
@click.argument("node")
@click.argument("what")
@home_option
def fault(node: str, what: str, folder: Path | None) -> None:
    """Break a simulated node, or mend it.

    NODE is its address, its name, or all. WHAT is ok, refuse, blackhole, reset, slow=SECONDS, lose-answer, half-answer,
    drip, slow-driver=SECONDS, failing-driver, over-capacity or wrong-cert.
    """
    from testbed.faults import inject

    for line in inject(_existing(folder), node, what):
        click.echo(line)


@verb()
@home_option
@json_option
def mail(folder: Path | None, as_json: bool) -> None:
    """Show the letters that the testbed has sent."""
    from testbed.mailbox import letters

    found = list(letters(_existing(folder).mail))
    if as_json:
        click.echo(json.dumps([letter.as_json() for letter in found]))
        return
    for letter in found:
        head = f"From: {letter.sender}\nTo: {letter.to}\nDate: {letter.date}\nSubject: {letter.subject}"
        click.echo(f"{head}\n\n{letter.text}\n{'─' * 40}")


@verb()
@click.argument("account", metavar="EMAIL|flower")
@home_option
def password(account: str, folder: Path | None) -> None:
    """Print the password of an account of this testbed, or Flower's, whose user is `flower`."""
    from testbed.daemons import FLOWER, secret

    home = _existing(folder)
    click.echo(secret(home, FLOWER) if account == FLOWER else home.password(account))


@verb()
@home_option
@json_option
def doctor(folder: Path | None, as_json: bool) -> None:
    """Look for what is wrong.

    Programs, services, clocks, certificates, orphans.
    """
    from testbed.doctor import examine

    checks = examine(Home.find(folder))
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            click.echo(check.line(most=LONGEST_LINE))
    sys.exit(not all(check.ok for check in checks))


@verb()
@home_option
@click.option("--keep", is_flag=True, help="Leave everything running at the end.")
@click.option("--nodes", type=click.IntRange(2, 64), default=8, show_default=True)
def demo(folder: Path | None, keep: bool, nodes: int) -> None:
    """Tell the whole story as it runs.

    A certificate, a slice on 8 nodes, a login to each, the end.
    """
    from testbed.demo import run

    default = Path(os.environ.get("DSLICE_HOME") or ".dslice-demo")
    sys.exit(run(Home.find(folder or default), nodes=nodes, keep=keep))


def _told_to_end(home: Home) -> bool:
    """True once the supervisor has been told; one that is just starting does not listen yet."""
    from testbed import control

    try:
        control.ask(home, "down")
    except HomeError:
        return Lock(home).holder() is None
    return True


def _existing(folder: Path | None) -> Home:
    home = Home.find(folder)
    if not home.directory.is_dir():
        raise HomeError(f"no testbed in {home.directory}: start one with 'dslice up'")
    return home


def _process(home: Home, name: str) -> dict[str, Any]:
    from testbed import control

    rows: list[dict[str, Any]] = control.ask(home, "ps")["processes"]
    return next(row for row in rows if row["name"] == name)


def _stays(home: Home, name: str) -> None:
    """HomeError when what has just said that it is ready ends at once."""
    pid, end = _process(home, name)["pid"], time.monotonic() + STAYS_SECONDS
    while time.monotonic() < end:
        row = _process(home, name)
        if row["pid"] != pid or row["state"] != "ready":
            raise HomeError(f"{name} ended at once: {_said_last(home, name)}; it is tried again and again")
        time.sleep(0.05)


def _said_last(home: Home, name: str) -> str:
    from testbed.supervisor import last_line

    log = home.logs / f"{name}.log"
    return f"{last_line(log)} (see {log})"


def _wait(condition: Callable[[], bool], longest: int, complaint: str) -> None:
    deadline = time.monotonic() + longest
    while not condition():
        if time.monotonic() > deadline:
            raise HomeError(complaint)
        time.sleep(0.05)
