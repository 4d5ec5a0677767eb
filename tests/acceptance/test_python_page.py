"""docs/python.md: its blocks are run in order, each Python block as a program; the text after it is what it prints.

The page's nodes are 127.0.1.1 to 127.0.1.3, which are real, and simulated ones from 127.0.1.4 on.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.lab import Lab
from tests.acceptance.test_howto_page import missing

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCK = re.compile(r"^```(python|console|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A program or a command, and the lines that it prints."""

    kind: str
    text: str
    lines: list[str]


def blocks(page: str) -> Iterator[Block]:
    last = None
    for kind, text in BLOCK.findall(page):
        if kind == "text":
            assert last is not None
            last.lines = text.splitlines()
        else:
            if last is not None:
                yield last
            last = Block(kind, text, [])
    if last is not None:
        yield last


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One of its own: which nodes the agent chooses depends on what others have there."""
    made = Lab(tmp_path_factory.mktemp("page"))
    made.up()
    try:
        yield made
    finally:
        made.down()


@pytest.mark.timeout(300)
@pytest.mark.skipif(not (shutil.which("ssh") and shutil.which("unshare")), reason="needs openssh-client and util-linux")
def test_the_page_is_true(lab: Lab) -> None:
    nodes = [*lab.real, *lab.simulated]
    key, other = lab.key("id_python"), lab.key("id_other")

    def here(text: str) -> str:
        text = text.replace("id_slice", key).replace("id_other", other)
        return re.sub(r"127\.0\.1\.(\d+)", lambda found: nodes[int(found[1]) - 1], text)

    for number, block in enumerate(blocks(PAGE.read_text())):
        text = here(block.text)
        if block.kind == "console":
            ran = lab.run("bash", "-ec", re.sub(r"^\$ ", "", text, flags=re.MULTILINE)).must()
            continue
        (lab.folder / f"task{number}.py").write_text(text)
        ran = lab.run("python", "-W", "error", f"task{number}.py").must()
        printed = [line.rstrip() for line in ran.out.splitlines() if line.strip()]
        assert not missing([here(line) for line in block.lines], printed), f"{text}\n{ran.out}{ran.err}"


def test_ten_tasks_and_each_prints_something() -> None:
    page = PAGE.read_text()
    assert re.findall(r"^## (\d+)\. ", page, re.MULTILINE) == [str(number) for number in range(1, 11)]
    assert all(block.lines for block in blocks(page) if block.kind == "python")
