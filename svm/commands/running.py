"""run: a command on all nodes of a slice at once; and what it shares with cp."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from svm.arguments import SLICE
from svm.commands.login import IDENTITY, REST
from svm.everywhere import Everywhere, Ran
from svm.exit_codes import status_of_nodes
from svm.flags import current, flags
from svm.openssh import PERMISSION_DENIED, SSH_FAILED, key_cure, require, ssh_command, unattended
from svm.output import Report, json_line, line, say
from svm.results import NodeResult
from svm.session import connect
from trust.errors import Code, Refusal


@click.command(context_settings=REST)
@IDENTITY
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@flags
def run(identity: str | None, name: str, words: tuple[str, ...]) -> int:
    """Run a command on all nodes of a slice at once.

    Equal outputs are shown once.
    """
    words = _command(words)
    if not words:
        raise click.UsageError("no command given; write it after --")
    config, nodes = prepared(name, "ssh")
    base = [*ssh_command(config, identity), *unattended(current().connect_timeout), "--"]
    report = Report(as_json=current().json)
    return _show(name, everywhere(lambda node: [*base, node, *words], nodes, report), report)


def prepared(name: str, program: str) -> tuple[Path, list[str]]:
    """The ssh_config, and the slice's nodes that can be logged in to, of which there is one; `program` is here.
    Refusal(NOT_FOUND)."""
    from svm.sshconfig import hosts, write

    svmd = connect()
    found = hosts(svmd.slice(name))
    if not found:
        raise Refusal(Code.NOT_FOUND, f"{name} has no running VM; see: svm status {name}")
    require(program)
    return write(svmd.home.directory, name, found), [host.node for host in found]


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    """The user's command, without the `--` that may stand before it."""
    return words[1:] if words[:1] == ("--",) else words


def everywhere(
    argv: Callable[[str], Sequence[str]],
    nodes: Sequence[str],
    report: Report,
    ended: Callable[[Ran], None] | None = None,
) -> list[Ran]:
    """Run `argv(node)` for each node, so many at once as the flags say; in the nodes' order. `ended` hears of each."""
    done: list[Ran] = []
    for ran in Everywhere(argv, nodes, current().parallelism, merged=True):
        done.append(ran)
        if ended is not None:
            ended(ran)
        report.progress(f"{len(done)} of {len(nodes)} nodes")
    report.pause()
    return sorted(done, key=lambda ran: nodes.index(ran.node))


def tell_cure(name: str, done: Sequence[Ran]) -> None:
    """What to type when a key was refused anywhere."""
    if any(PERMISSION_DENIED in ran.stdout for ran in done if ran.status):
        say(key_cure(name))


def _show(name: str, done: Sequence[Ran], report: Report) -> int:
    if report.as_json:
        return _as_json(done, report)
    for output in dict.fromkeys(ran.stdout for ran in done):
        _show_group([ran for ran in done if ran.stdout == output], output)
    status = _say_statuses(done)
    tell_cure(name, [ran for ran in done if ran.status == SSH_FAILED])
    return status


def _show_group(ran: Sequence[Ran], output: bytes) -> None:
    count = f" ({len(ran)} nodes)" if len(ran) > 1 else ""
    line(click.style(f"== {' '.join(each.node for each in ran)}{count}", bold=True))
    text = output.decode("utf-8", "replace").replace("\r\n", "\n")
    click.echo("".join(c if c.isprintable() or c in "\n\t" else "?" for c in text), nl=not text.endswith("\n"))


def _say_statuses(done: Sequence[Ran]) -> int:
    failures = Counter(_cause(ran.status) for ran in done if ran.status)
    ok = len(done) - failures.total()
    causes = ", ".join(f"{count} {cause}" for cause, count in failures.most_common())
    say(f"{ok} ok · {failures.total()} failed: {causes}" if failures else f"{ok} ok")
    return status_of_nodes(ok, failures.total())


def _as_json(done: Sequence[Ran], report: Report) -> int:
    for ran in done:
        text = ran.stdout.decode("utf-8", "replace")
        json_line("row", {"node": ran.node, "status": ran.status, "output": text})
        report.results.append(NodeResult(ran.node, ran.status == 0, None if ran.status == 0 else _cause(ran.status)))
    return report.summary(None)


def _cause(status: int) -> str:
    return "ssh failed" if status == SSH_FAILED else f"exit {status}"
