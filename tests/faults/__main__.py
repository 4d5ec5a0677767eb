"""`python -m tests.faults`: break the real stack, case by case. Exit status 1 on anything lost or doubled."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from tests.faults import report
from tests.faults.cases import CASES, Case
from tests.faults.leases import LEASE_CASES, run_leases
from tests.faults.outside import OUTSIDE_CASES, run_outside
from tests.faults.planted.bugs import BUGS
from tests.faults.planted.run import run_planted, table
from tests.faults.putback import PUT_BACK_CASES, run_put_back
from tests.faults.replacing import REPLACING_CASES, run_replacing
from tests.faults.runner import Outcome, Runner
from tests.faults.stack import Stack
from tests.faults.together import TOGETHER_CASES, run_together

SHORT_NODES, SHORT_SLICES, SHORT_HOLD = 16, 1, 4
INTERRUPTED = 130
ALONE: dict[str, Callable[[Stack, str], Outcome]] = {
    **dict.fromkeys(TOGETHER_CASES, run_together),
    **dict.fromkeys(REPLACING_CASES, run_replacing),
    **dict.fromkeys(PUT_BACK_CASES, run_put_back),
    **dict.fromkeys(LEASE_CASES, run_leases),
    **dict.fromkeys(OUTSIDE_CASES, run_outside),
}
"""Cases that are no round of slices under a fault, and how each is run."""


@click.command()
@click.option("--nodes", default=200, show_default=True, help="Simulated nodes.")
@click.option("--workers", default=4, show_default=True, help="Celery workers.")
@click.option("--slices", default=1, show_default=True, help="Slices under way at once, each on all nodes.")
@click.option("--times", default=1, show_default=True, help="How often each case is run.")
@click.option("--latency", default=100, show_default=True, help="Answer time of the nodes, milliseconds.")
@click.option("--only", multiple=True, metavar="WORDS", help="Cases whose name has these words.")
@click.option("--short", is_flag=True, help=f"A few cases on {SHORT_NODES} nodes, within a minute.")
@click.option("--markdown", is_flag=True, help="The table as docs/faults.md has it.")
@click.option("--planted", is_flag=True, help="Plant bugs into copies of the tree: what finds each.")
@click.option("--keep", is_flag=True, help="Leave the testbed's folder (logs, stores) where it is.")
def main(
    nodes: int, workers: int, slices: int, times: int, latency: int, only: tuple[str, ...], short: bool,
    markdown: bool, planted: bool, keep: bool,
) -> None:  # fmt: skip
    """Break a testbed on purpose and see that nothing is lost and nothing doubled."""
    if planted:
        sys.exit(_planted(only, keep=keep))
    chosen = [case for case in CASES if (case.short or not short) and _meant(case.name, only)]
    if short:
        nodes, slices, workers, times = SHORT_NODES, SHORT_SLICES, 2, 1
        chosen = [replace(case, hold=SHORT_HOLD, least=SHORT_HOLD) for case in chosen]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(INTERRUPTED))  # through `finally`: nothing is left running
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    stack = Stack(folder, nodes, workers, latency)
    runner = Runner(stack, slices, lambda line: click.echo(line, err=True))
    whole = True
    try:
        stack.up()
        # In the short run one round of slices meets all of them, one at each verb.
        _play(runner, [chosen] if short else [[case] for case in chosen], times)
        for name, run in () if short else ALONE.items():
            if _meant(name, only):
                runner.outcomes[name] = run(stack, name)
                _say(runner.outcomes[name])
    except SystemExit:
        click.echo("interrupted: the table has what came until then", err=True)
        whole = False
    finally:
        stack.down()
        if keep:
            click.echo(f"kept: {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    status = _told(list(runner.outcomes.values()), markdown=markdown)
    sys.exit(status if whole else INTERRUPTED)


def _planted(only: tuple[str, ...], *, keep: bool) -> int:
    """The table of planted bugs. Exit status 1 when one is not found, or what is to find it fails without it."""
    verdicts = run_planted([bug for bug in BUGS if _meant(bug.name, only)], lambda line: click.echo(line, err=True))
    for verdict in verdicts:
        if not verdict.good:
            click.echo(f"{verdict.name}: {verdict.output if keep else verdict.output[-2000:]}", err=True)
    for line in table(verdicts):
        click.echo(line)
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _play(runner: Runner, cases: list[list[Case]], times: int) -> None:
    for _ in range(times):
        for together in cases:
            for outcome in runner.run(together):
                _say(outcome)


def _say(outcome: Outcome) -> None:
    """What is known of a case by now."""
    verdict = "good" if outcome.good else f"BROKEN: {'; '.join(outcome.why[:3])}"
    click.echo(f"{' · '.join(report.cells(outcome))}: {verdict}", err=True)


def _meant(name: str, only: tuple[str, ...]) -> bool:
    """`=NAME` means that one case."""
    return not only or any(words == f"={name}" or words.lower() in name.lower() for words in only)


def _told(outcomes: list[Outcome], *, markdown: bool) -> int:
    for outcome in outcomes:
        for why in outcome.why[:20]:
            click.echo(f"{outcome.case}: {why}", err=True)
    for line in report.markdown(outcomes) if markdown else report.plain(outcomes):
        click.echo(line)
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    main()
