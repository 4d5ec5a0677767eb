"""A planted bug, and what is to find it."""

import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
MACHINE = "tests/integration/machine/test_machine.py"


@dataclass(frozen=True, slots=True)
class Finder:
    """What is run. `kind`: `case` of the harness, `property` of a state machine, or `test`."""

    kind: str
    name: str
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug.

    Args:
        name: what is wrong with it in, in words.
        file: path in the repository, where `old` stands exactly once and gives way to `new`.
        says: words of the finder's output, without which it failed for another reason.
    """

    name: str
    file: str
    old: str
    new: str
    finder: Finder
    says: str

    def planted(self, text: str) -> str:
        """The file with the bug. Raises ValueError when `old` does not stand there exactly once."""
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.name}: the text to be replaced stands {text.count(self.old)} times in {self.file}")
        return text.replace(self.old, self.new)


def case(name: str, *, nodes: int = 8, workers: int = 2) -> Finder:
    """A case of the harness, by its whole name, on a few nodes."""
    argv = ("tests.faults", "--only", f"={name}", "--nodes", str(nodes), "--workers", str(workers))
    return Finder("case", name, ("-m", *argv))


def property_of(file: str, invariant: str) -> Finder:
    """An invariant of a state machine."""
    return Finder("property", invariant, _pytest(file))


def single_test(node: str) -> Finder:
    """A test, as pytest names it."""
    return Finder("test", node, _pytest(node))


def _pytest(what: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-x", "-p", "no:cacheprovider", what)


def command(finder: Finder) -> list[str]:
    """To be run in the copy's folder."""
    return [sys.executable, *finder.argv]
