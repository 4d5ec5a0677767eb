"""The table: case, times run, kills, nodes broken, steps, lost, doubled, seconds to converge."""

from collections.abc import Iterable, Iterator, Sequence

from tests.faults.runner import Outcome

NUMBERS = ("runs", "kills", "broken", "steps", "lost", "doubled", "again")
HEAD = ("case", "times run", "kills", "broken", "steps", "lost", "doubled", "typed again", "seconds to converge")


def cells(outcome: Outcome) -> tuple[str, ...]:
    """One line of the table."""
    return (outcome.case, *(f"{getattr(outcome, name):,}" for name in NUMBERS), f"{outcome.seconds:.1f}")


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """All cases together; `seconds` is the longest."""
    found = Outcome("all")
    for name in NUMBERS:
        setattr(found, name, sum(getattr(outcome, name) for outcome in outcomes))
    found.seconds = max((outcome.seconds for outcome in outcomes), default=0)
    return found


def plain(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """For a terminal, 80 columns and a little."""
    rows = [HEAD, *(cells(outcome) for outcome in [*outcomes, total(outcomes)])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        yield "  ".join(_padded(row, widths))


def markdown(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """For docs/faults.md."""
    yield f"| {' | '.join(HEAD)} |"
    yield f"|---|{'---:|' * (len(HEAD) - 1)}"
    for outcome in [*outcomes, total(outcomes)]:
        yield f"| {' | '.join(cells(outcome))} |"


def _padded(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    yield row[0].ljust(widths[0])
    for cell, width in zip(row[1:], widths[1:], strict=True):
        yield cell.rjust(width)
