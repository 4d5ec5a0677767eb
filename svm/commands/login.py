"""ssh, ssh-config, run: into the slice with the user's own OpenSSH client, host keys pinned."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from svm.arguments import SLICE
from svm.exit_codes import status_of_nodes
from svm.files import slice_folder
from svm.flags import current, flags
from svm.output import NodeResult, Report, json_line, line, say
from svm.session import connect
from trust.errors import Code, Refusal

REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}
IDENTITY = click.option("-i", "identity", type=click.Path(), metavar="FILE", help="The private key to log in with.")
SSH_FAILED = 255
"""ssh's own exit status when it is the connection that failed."""


@click.command(context_settings=REST)
@IDENTITY
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("node")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[CMD]...")
@flags
def ssh(identity: str | None, name: str, node: str, words: tuple[str, ...]) -> None:
    """Log in to a slice on NODE, or run CMD there.

    NODE is an IP address or a node's name. The exit status is that of ssh.
    """
    words = _command(words)
    config, target = _prepared(name, node)
    argv = [*_ssh(config, identity), "--", target, *words]
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - this process becomes ssh
    except OSError:
        raise _no_ssh() from None


@click.command(name="ssh-config")
@click.argument("name", type=SLICE, metavar="SLICE")
@flags
def ssh_config(name: str) -> None:
    """Print ssh_config entries for a slice's nodes.

    For ssh -F FILE, or for an Include in ~/.ssh/config.
    """
    from svm.sshconfig import hosts, write

    svmd = connect()
    found = hosts(svmd.slice(name))
    config = write(svmd.home.directory, name, found)
    if current().json:
        for host in found:
            json_line("row", {"slice": name, "ssh_config": str(config), **asdict(host)})
        return
    click.echo(config.read_text(encoding="utf-8"), nl=False)
    if sys.stderr.isatty():
        say(f"To have these always, in ~/.ssh/config:\nInclude {config}")


@click.command(context_settings=REST)
@IDENTITY
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@flags
def run(identity: str | None, name: str, words: tuple[str, ...]) -> int:
    """Run a command on all nodes of a slice at once.

    Equal outputs are shown once.
    """
    from shutil import which

    from svm.sshconfig import hosts, write

    words = _command(words)
    if not words:
        raise click.UsageError("no command given; write it after --")
    svmd = connect()
    found = hosts(svmd.slice(name))
    if not found:
        raise Refusal(Code.NOT_FOUND, f"{name} has no running VM; see: svm status {name}")
    if which("ssh") is None:
        raise _no_ssh()
    config = write(svmd.home.directory, name, found)
    base = [*_ssh(config, identity), "-o", "BatchMode=yes", "-o", f"ConnectTimeout={current().connect_timeout}", "--"]
    return _run_everywhere(name, base, [host.node for host in found], words)


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    """The user's command, without the `--` that may stand before it."""
    return words[1:] if words[:1] == ("--",) else words


def _prepared(name: str, node: str) -> tuple[Path, str]:
    """The ssh_config and the host in it. Without svmd, what it last said still lets people log in."""
    from svm.sshconfig import CONFIG, find, hosts, write

    kept = slice_folder(connect_home(), name) / CONFIG
    try:
        svmd = connect()
        found = hosts(svmd.slice(name))
    except Refusal as refusal:
        if refusal.code not in (Code.UNREACHABLE, Code.TIMEOUT) or not _lists(kept, node):
            raise
        say(f"svm: {refusal.reason}\nsvm: using what svmd said last")
        return kept, node
    host = find(found, name, node)
    return write(svmd.home.directory, name, found), host.node


def connect_home() -> Path:
    """The key directory, absolute."""
    from svm.home import Home

    return Home.find().directory.absolute()


def _no_ssh() -> Refusal:
    return Refusal(Code.NOT_FOUND, "no ssh on this machine; install the OpenSSH client")


def _lists(config: Path, node: str) -> bool:
    with suppress(OSError):
        entries = config.read_text(encoding="utf-8").splitlines()
        return any(text.startswith("Host ") and node in text.split()[1:] for text in entries)
    return False


def _ssh(config: Path, identity: str | None) -> list[str]:
    return ["ssh", "-F", str(config), *(["-o", "IdentitiesOnly=yes", "-i", identity] if identity else [])]


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a command did on one node; `output` is stdout and stderr together."""

    node: str
    status: int
    output: bytes


def _run_everywhere(name: str, base: Sequence[str], found: Sequence[str], words: Sequence[str]) -> int:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    given = current()
    report = Report(as_json=given.json)
    done: list[_Ran] = []
    with ThreadPoolExecutor(min(given.parallelism, len(found))) as pool:
        waiting = [pool.submit(_run_on, [*base, node, *words], node) for node in found]
        for future in as_completed(waiting):
            done.append(future.result())
            report.progress(f"{len(done)} of {len(found)} nodes")
    report.pause()
    done.sort(key=lambda ran: found.index(ran.node))
    if given.json:
        return _as_json(done, report)
    for output in dict.fromkeys(ran.output for ran in done):
        _show_group([ran for ran in done if ran.output == output], output)
    status = _say_statuses(done)
    if any(ran.status == SSH_FAILED and b"Permission denied" in ran.output for ran in done):
        say(f"Let a key in with: svm addkey {name} KEYFILE; or name the right one with -i")
    return status


def _run_on(argv: Sequence[str], node: str) -> _Ran:
    import subprocess

    ended = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return _Ran(node, ended.returncode, ended.stdout)


def _show_group(ran: Sequence[_Ran], output: bytes) -> None:
    count = f" ({len(ran)} nodes)" if len(ran) > 1 else ""
    line(click.style(f"== {' '.join(each.node for each in ran)}{count}", bold=True))
    text = output.decode("utf-8", "replace").replace("\r\n", "\n")
    click.echo("".join(c if c.isprintable() or c in "\n\t" else "?" for c in text), nl=not text.endswith("\n"))


def _say_statuses(done: Sequence[_Ran]) -> int:
    failures = Counter(_cause(ran.status) for ran in done if ran.status)
    ok = len(done) - failures.total()
    causes = ", ".join(f"{count} {cause}" for cause, count in failures.most_common())
    say(f"{ok} ok · {failures.total()} failed: {causes}" if failures else f"{ok} ok")
    return status_of_nodes(ok, failures.total())


def _as_json(done: Sequence[_Ran], report: Report) -> int:
    for ran in done:
        text = ran.output.decode("utf-8", "replace")
        json_line("row", {"node": ran.node, "status": ran.status, "output": text})
        report.results.append(NodeResult(ran.node, ran.status == 0, None if ran.status == 0 else _cause(ran.status)))
    return report.summary(None)


def _cause(status: int) -> str:
    return "ssh failed" if status == SSH_FAILED else f"exit {status}"
