"""`dslice demo`: the whole story, told as it runs, through the commands that a user types.

Everything that it writes lies in its own folder; the user's HOME is not touched. The exit status is 0 only if every
step did what it must.
"""

import hashlib
import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import click

from testbed.addresses import Claim
from testbed.daemons import real_nodes, url
from testbed.home import NEWCOMER, Home, HomeError, Lock
from testbed.shell import programs, settings, shown
from testbed.stage import CheckError, Shown, Stage, check

SLICE = "demo"
SSH_REFUSED = 255
INTERRUPTED = 130  # exit status
LEASE_SECONDS = 3600
SLICE_XML = """\
<?xml version="1.0"?>
<slice>
  <name>{name}</name>
  <numnodes>{nodes}</numnodes>
  <leaselen>{leaselen}</leaselen>
</slice>
"""


def run(home: Home, *, nodes: int, keep: bool) -> int:
    """Tell the story on `nodes` nodes in a fresh testbed; an exit status. HomeError if the folder is taken."""
    claim = Claim()  # until this process ends: a second demo would end the first one's testbed
    if not claim.take(f"demo-{hashlib.sha256(bytes(home.directory)).hexdigest()}"):
        raise HomeError(f"a demo runs in {home.directory}: wait for its end, or name another folder with --home")
    _clear(home)
    home.make()
    folder = home.directory / "demo"
    for made in (folder, folder / "home"):
        made.mkdir(parents=True, mode=0o700)
    stage = Stage(folder, _environment(home, folder))
    try:
        _tell(stage, home, nodes)
        status, failure = 0, None
    except CheckError as error:
        status, failure = 1, str(error)
    except KeyboardInterrupt:
        status, failure = INTERRUPTED, "interrupted"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # here and in `dslice down`: what was started has to end
    _end(stage, home, keep=keep, failure=failure)
    return status


def _tell(stage: Stage, home: Home, nodes: int) -> None:
    stage.step(f"A PlanetLab with {nodes} nodes on this machine", lambda: _start(stage, home, nodes))
    story = Story(stage, home, [node.address for node in real_nodes(home.plan())])
    stage.env = {**stage.env, **settings(home, NEWCOMER)}
    stage.step("A certificate: plkeygen, approval, plkeygen --refresh", story.certificate)
    stage.step("What the agent advertises", story.advertisements)
    stage.step(f"A slice on {nodes} nodes", story.create)
    stage.step("Log in to every node, and from one to another", story.login)
    stage.step("A file there and back", story.copy)
    stage.step("Nodes and leases", story.leases)
    stage.step("The end of the slice; the login is refused", story.delete)


def _start(stage: Stage, home: Home, nodes: int) -> None:
    stage.run("dslice", "up", "--detach", "--nodes", str(nodes))
    stage.run("dslice", "ps")
    check(Lock(home).holder() is not None, "a running testbed")


@dataclass(frozen=True, slots=True)
class Story:
    """The steps that a user takes; each raises CheckError when it did not do what it must."""

    stage: Stage
    home: Home
    nodes: list[str]

    def certificate(self) -> None:
        """Howto, "Obtaining a certificate"; the CA operator is on the same machine here."""
        password = self.home.password(NEWCOMER)
        asked = self.stage.converse("plkeygen", answers={"email:": NEWCOMER, "password:": password})
        check("Certificate request sent to" in asked.text, "the line that the request was sent")
        listed = self.stage.run("dslice", "plc", "requests")
        check(NEWCOMER in listed.text, "the request in the CA operator's queue")
        self.stage.run("dslice", "plc", "approve", NEWCOMER)
        fetched = self.stage.converse("plkeygen", "--refresh", answers={"email:": NEWCOMER})
        check("Certificate downloaded." in fetched.text, "the line that the certificate was downloaded")

    def advertisements(self) -> None:
        """Howto: `svm getads`."""
        shown = self.stage.run("svm", "getads")
        check(set(self.nodes) <= set(shown.lines), "every node in the list")

    def create(self) -> None:
        """Howto: `svm createslice`; a line as each node ends."""
        (self.stage.folder / "demo.xml").write_text(
            SLICE_XML.format(name=SLICE, nodes=len(self.nodes), leaselen=LEASE_SECONDS)
        )
        self.stage.run("cat", "demo.xml")
        self._on_every_node("createslice", "demo.xml")

    def login(self) -> None:
        """Howto: `svm addkey`, then `ssh NODE -l SLICE`; from inside with the slice's own key."""
        self.stage.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", "key")
        self._on_every_node("addkey", SLICE, "key.pub")
        self.stage.run("svm", "ssh-config", SLICE, into="ssh_config")
        self._keep_known_hosts()
        for number, node in enumerate(self.nodes, 1):
            shown = self._ssh(node, "hostname")
            check(shown.lines == [f"n{number}"], f"the hostname n{number}")
        shown = self._ssh(self.nodes[0], "ssh", self.nodes[-1], "hostname")
        check(shown.lines == [f"n{len(self.nodes)}"], f"the hostname n{len(self.nodes)}")

    def copy(self) -> None:
        """A file to a sliver and back with scp, unchanged."""
        (self.stage.folder / "there.txt").write_text("Hello from the other side of the testbed.\n")
        there = f"{SLICE}@{self.nodes[0]}:hello.txt"
        self.stage.run("scp", "-q", *SSH_OPTIONS, "there.txt", there)
        self.stage.run("scp", "-q", *SSH_OPTIONS, there, "back.txt")
        self.stage.run("cmp", "there.txt", "back.txt")

    def leases(self) -> None:
        """Howto: `svm nodelist`, `svm expirations`."""
        listed = self.stage.run("svm", "nodelist", SLICE)
        check(sorted(listed.lines) == sorted(self.nodes), "every node in the slice")
        ends = self.stage.run("svm", "expirations", SLICE)
        check(all(line.startswith(f"Sliver for slice {SLICE} expires ") for line in ends.lines), "the howto's lines")
        check(len(ends.lines) == len(self.nodes), "a line for each node")

    def delete(self) -> None:
        """Howto: `svm deleteslice`; afterwards nobody gets in."""
        self._on_every_node("deleteslice", SLICE)
        for node in self.nodes:
            shown = self._ssh(node, "hostname", expect=SSH_REFUSED)
            check("Permission denied" in shown.text, "'Permission denied'")

    def _keep_known_hosts(self) -> None:
        """deleteslice removes svm's file of host keys, and the last logins must fail for want of a slice, not of it."""
        shutil.copy(self.home.user(NEWCOMER) / "slices" / SLICE / "known_hosts", self.stage.folder)
        config = self.stage.folder / "ssh_config"
        config.write_text(re.sub(r"UserKnownHostsFile .*", "UserKnownHostsFile known_hosts", config.read_text()))

    def _ssh(self, node: str, *command: str, expect: int = 0) -> Shown:
        return self.stage.run("ssh", *SSH_OPTIONS, "-l", SLICE, node, *command, expect=expect)

    def _on_every_node(self, *verb: str) -> None:
        shown = self.stage.run("svm", *verb)
        check(
            sorted(line for line in shown.lines if line.startswith("Success on "))
            == sorted(f"Success on {node}" for node in self.nodes),
            "'Success on' every node",
        )


# -F: the user's own ~/.ssh is neither read nor written; the host keys are pinned in the file that svm wrote.
SSH_OPTIONS = ("-F", "ssh_config", "-i", "key")


def _end(stage: Stage, home: Home, *, keep: bool, failure: str | None) -> None:
    if failure:
        click.secho(f"\nThe demo failed: {failure}. Logs: {shown(home.logs)}", fg="red")
    if keep and Lock(home).holder() is not None:
        _summary(stage)
        _say_where(home)
        return
    click.echo()
    try:
        stage.run("dslice", "down")
    except CheckError as error:
        click.secho(f"dslice down failed: {error}", fg="red")
    _summary(stage)
    if Lock(home).holder() is None:
        click.echo("\nNothing runs any more. `make demo KEEP=1` leaves it all up.")
    if not failure:
        shutil.rmtree(home.directory)


def _summary(stage: Stage) -> None:
    click.secho(f"\n{'── Summary ':─<80}", bold=True)
    for number, (title, seconds) in enumerate(stage.times, 1):
        click.echo(f"{number}. {title:<60} {seconds:7.1f} s")
    click.echo(f"   {'all':<60} {sum(seconds for _, seconds in stage.times):7.1f} s")


def _say_where(home: Home) -> None:
    plan = home.plan()
    secret = home.secrets / "flower"
    click.echo(f"\nFlower: {url(plan, 'flower')} (user flower, password in {shown(secret)})")
    click.echo(f"svmd:   {url(plan, 'svmd')}")
    click.echo(f'Go on:  eval "$({programs()}/dslice env --home {shown(home.directory)})"; svm getads')
    click.echo(f"End it: {programs()}/dslice down --home {shown(home.directory)}")


def _clear(home: Home) -> None:
    """A fresh folder: the second run starts as the first did. HomeError for one that is not ours, or in use."""
    if not home.directory.exists():
        return
    if Lock(home).holder() is not None:
        raise HomeError(f"a testbed runs in {home.directory}: end it with 'dslice down --home {home.directory}'")
    if any(home.directory.iterdir()) and not home.is_ours():
        raise HomeError(f"{home.directory} is not a testbed's folder: name another with --home")
    shutil.rmtree(home.directory)


def _environment(home: Home, folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSLICE_", "PLANETLAB_", "SSH_"))}
    return {
        **kept,
        "DSLICE_HOME": str(home.directory),
        "HOME": str(folder / "home"),
        "PATH": f"{programs()}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
    }
