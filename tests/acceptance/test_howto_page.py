"""docs/howto.md: its console blocks are typed in order by somebody who has no account yet; the lines below each match.

The page's nodes are 127.0.1.1 to 127.0.1.3, which are real, and simulated ones from 127.0.1.4 on.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.lab import Lab, Ran

PAGE = Path(__file__).parents[2] / "docs" / "howto.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PASSWORD = "a long password of this year"
WHEN = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
ANYTHING = "..."


@dataclass
class Typed:
    """A command of the page, what is typed at its prompts, and the lines that it prints there."""

    command: str
    answers: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """One more line of the block."""
        prompt = re.fullmatch(r"(?:email|(password)): ?(.*)", line)
        if line.startswith("> "):
            self.command += f"\n{line[2:]}"
        elif prompt:
            self.answers.append(PASSWORD if prompt[1] else prompt[2])
        else:
            self.lines.append(line)


def commands(page: str) -> Iterator[Typed]:
    for block in BLOCK.findall(page):
        found: list[Typed] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Typed(line[2:]))
            else:
                found[-1].add(line)
        yield from found


def missing(wanted: list[str], said: list[str]) -> list[str]:
    """Which of the page's lines were not printed, and, where it has no `...`, which were printed beyond them."""
    patterns = [re.escape(line).replace(re.escape(ANYTHING), ".*") for line in wanted if line != ANYTHING]
    left, lacking = Counter(said), []
    for pattern in patterns:
        match = next((line for line in left if left[line] and re.fullmatch(pattern, line)), None)
        if match is None:
            lacking.append(pattern)
        else:
            left[match] -= 1
    return lacking if ANYTHING in wanted else lacking + [f"beyond: {line}" for line in left.elements()]


class Shell:
    """One shell, as the page's reader has it open: what changes its environment is kept for the next command."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.kept = lab.folder / "howto-shell"

    def types(self, command: str, answers: list[str]) -> Ran:
        typed = "".join(f"{answer}\n" for answer in answers)
        if command.startswith(("eval ", "unset ")):
            command += f"\nexport -p > {self.kept}"
        if not self.kept.exists():
            return self.lab.run("bash", "-c", command, typed=typed)
        return self.lab.run("env", "-i", "bash", "-c", f". {self.kept}\n{command}", typed=typed)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not (shutil.which("ssh") and shutil.which("unshare")), reason="needs openssh-client and util-linux")
def test_the_page_is_true(lab: Lab) -> None:
    nodes = [*lab.real, *lab.simulated]
    shell = Shell(lab)

    def here(text: str) -> str:
        return re.sub(r"127\.0\.1\.(\d+)", lambda found: nodes[int(found[1]) - 1], text)

    for typed in commands(PAGE.read_text()):
        ran = shell.types(here(typed.command), typed.answers)
        said = re.sub(r"^(email|password): ?((email|password): ?)*", "", f"{ran.out}{ran.err}", flags=re.MULTILINE)
        printed = [WHEN.sub("T", line.rstrip()) for line in said.splitlines() if line.strip()]
        wanted = [WHEN.sub("T", here(line)) for line in typed.lines]
        assert not missing(wanted, printed), f"$ {typed.command}\n{ran.out}{ran.err}"
