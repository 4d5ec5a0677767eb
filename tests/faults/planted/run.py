"""Each bug in a copy of its own, and whether it is found; before that all that is to find them, without a bug."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.planted.bug import REPOSITORY, Bug, Finder, command

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".dslice*", ".hypothesis", "__pycache__", ".*_cache")
LONGEST = 400
"""Seconds for one bug."""
FAILED = 1
"""Exit status of pytest, and of the harness, that found something."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one bug, or of a finder without one (`bug` None)."""

    finder: Finder
    bug: Bug | None
    good: bool
    output: str = ""

    @property
    def name(self) -> str:
        return self.bug.name if self.bug else "(nothing planted)"


def run_planted(bugs: Sequence[Bug], tell: Callable[[str], None], *, jobs: int = 2) -> list[Verdict]:
    """All of them; the finders first."""
    work: list[tuple[Finder, Bug | None]] = [(finder, None) for finder in _distinct(bugs)]
    work += [(bug.finder, bug) for bug in bugs]

    def run(item: tuple[Finder, Bug | None]) -> Verdict:
        verdict = _tried(*item)
        tell(f"{'good' if verdict.good else 'NOT FOUND' if item[1] else 'FAILS ALONE'}: {verdict.name}: {item[0]}")
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run, work))


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """As docs/faults.md has it."""
    yield "| bug | in | found by |"
    yield "|---|---|---|"
    for verdict in verdicts:
        if verdict.bug:
            found = str(verdict.finder) if verdict.good else "**not found**"
            yield f"| {verdict.bug.name} | {verdict.bug.file} | {found} |"


def _distinct(bugs: Sequence[Bug]) -> list[Finder]:
    """What is run, each once: two properties of one machine are found by the same command."""
    return list({bug.finder.argv: bug.finder for bug in bugs}.values())


def _tried(finder: Finder, bug: Bug | None) -> Verdict:
    with _copy() as tree:
        if bug:
            path = tree / bug.file
            path.write_text(bug.planted(path.read_text()))
        status, output = _ran(command(finder), tree)
    good = status == 0 if bug is None else status == FAILED and bug.says in output
    return Verdict(finder, bug, good, output)


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="planted-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder) / "dslice"
        shutil.copytree(REPOSITORY, tree, ignore=LEFT_OUT)
        yield tree


def _ran(argv: list[str], tree: Path) -> tuple[int, str]:
    """Exit status and output; the installed package gives way to the copy."""
    # A planted file may have the size and the second of the one before: no bytecode is kept.
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "DSLICE_NO_SHRINKING": "1"}
    with subprocess.Popen(
        argv, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # a harness takes its testbed down
            output, _ = process.communicate()
    return process.returncode, output
