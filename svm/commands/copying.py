"""cp: files to all nodes of a slice at once, or from all of them, with the user's own scp."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from svm.commands.login import IDENTITY
from svm.commands.running import everywhere, prepared, tell_cure
from svm.everywhere import Ran
from svm.flags import current, flags
from svm.openssh import in_scp, last_words, scp_command
from svm.output import Report
from svm.results import NodeResult
from trust.errors import Code, Refusal
from trust.names import check_slice_name


@dataclass(frozen=True, slots=True)
class Copy:
    """What is copied: `sources` to `target`, those in the slice without its name."""

    slice: str
    sources: tuple[str, ...]
    target: str
    to_nodes: bool


@click.command()
@IDENTITY
@click.argument("words", nargs=-1, required=True, metavar="SRC... SLICE:DST | SLICE:SRC... DST")
@flags
def cp(identity: str | None, words: tuple[str, ...]) -> int:
    """Copy files and folders to all nodes of a slice at once, or from all of them.

    What comes from a node goes to DST/NODE. A path in a slice begins at the slice's home.
    """
    copy = parse(words)
    config, nodes = prepared(copy.slice, "scp")
    base = scp_command(config, identity, current().connect_timeout)
    report = Report(as_json=current().json)
    words_of = _to(copy) if copy.to_nodes else _from(copy)
    done = everywhere(lambda node: [*base, *words_of(node)], nodes, report, lambda ran: report.node(_result(ran)))
    status = report.summary(None)
    if not report.as_json:
        tell_cure(copy.slice, done)
    return status


def parse(words: Sequence[str]) -> Copy:
    """Raises click.UsageError where not exactly one side is a slice's."""
    *sources, target = words
    there = [_in_slice(word) for word in sources]
    where = _in_slice(target)
    if where is not None and sources and not any(there):
        return Copy(where[0], tuple(sources), where[1], to_nodes=True)
    names = {each[0] if each else None for each in there}
    if where is None and len(names) == 1 and None not in names:
        return Copy(str(names.pop()), tuple(each[1] for each in there if each), target, to_nodes=False)
    raise click.UsageError(
        "write SRC... SLICE:DST, or SLICE:SRC... DST, with one slice; a file's name with : as ./NAME"
    )


def _in_slice(word: str) -> tuple[str, str] | None:
    """(slice, path) of `SLICE:PATH`; None for a file here."""
    name, colon, path = word.partition(":")
    if not colon or "/" in name:
        return None
    return check_slice_name(name), path


def _to(copy: Copy) -> Callable[[str], list[str]]:
    missing = next((source for source in copy.sources if not Path(source).exists()), None)
    if missing is not None:
        raise Refusal(Code.BAD_INPUT, f"{missing[:200]} is not there")
    return lambda node: [*copy.sources, f"{in_scp(node)}:{copy.target}"]


def _from(copy: Copy) -> Callable[[str], list[str]]:
    def words(node: str) -> list[str]:
        folder = Path(copy.target) / node
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refusal(Code.BAD_INPUT, f"{str(folder)[:200]} cannot be made: {error.strerror}") from error
        return [*(f"{in_scp(node)}:{source}" for source in copy.sources), f"{folder}/"]

    return words


def _result(ran: Ran) -> NodeResult:
    if not ran.status:
        return NodeResult(ran.node, True)
    return NodeResult(ran.node, False, "copy-failed", last_words(ran.status, ran.stdout))
