"""What docstrings, comments and pages cite is there: pages of docs/, their headings, modules and what they define."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = "admin agent bench deploy docs dslice lifecycle models nodemgr plc rpc svm tasks testbed tests trust workers"

_ROOM = rf"(?<![\w./-])(?:{ROOMS.replace(' ', '|')})"
HEADING = re.compile(r"docs/([\w-]+\.md),\s+(?:#\s*)?\"([^\"]+)\"")
PAGE = re.compile(r"(?<![\w/.-])[\w./-]*[\w-]\.md\b")
FILE = re.compile(rf"{_ROOM}/[\w/.-]*\w\.(?:py|sh|toml|yml|svg)\b")
FOLDER = re.compile(rf"`({_ROOM}(?:/\w+)*/?)`")
MODULE = re.compile(r"`(\w+\.py)`")
DOTTED = re.compile(rf"`({_ROOM}(?:\.\w+)+)(?:\(\))?`")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


FILES = tracked()


@cache
def headings(page: str) -> frozenset[str]:
    path = ROOT / "docs" / page
    return frozenset(re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)) if path.is_file() else frozenset()


def broken(path: str, text: str) -> Iterator[str]:
    """Citations in `text`, of the file `path`, of what is not there."""
    for page, heading in HEADING.findall(text):
        if heading not in headings(page):
            yield f'docs/{page}, "{heading}"'
    for page in PAGE.findall(text):
        if not any((ROOT / folder / page).is_file() for folder in ("", "docs", Path(path).parent)):
            yield page
    for name in [*FILE.findall(text), *FOLDER.findall(text)]:
        if not any((ROOT / found).exists() for found in (name, f"{name}.py")):
            yield name
    yield from (name for name in MODULE.findall(text) if name not in {Path(found).name for found in FILES})
    yield from (name for name in DOTTED.findall(text) if not defined(name))


def defined(name: str) -> bool:
    """Whether `room.module` or what it defines is there; or it is a group of entry points, or a user's file."""
    if name == "dslice.toml" or f'entry-points."{name}"' in (ROOT / "pyproject.toml").read_text():
        return True
    words = name.split(".")
    for length in range(len(words), 0, -1):
        place = ROOT.joinpath(*words[:length])
        module = next((found for found in (place.with_suffix(".py"), place / "__init__.py") if found.is_file()), None)
        if module is not None:
            text = module.read_text()
            return all(re.search(rf"\b{word}\b", text) for word in words[length : length + 1])
    return False


@pytest.mark.skipif(not FILES, reason="needs git, and its folder")
def test_every_citation_leads_somewhere() -> None:
    lost = {path: found for path in FILES if (found := sorted(set(broken(path, (ROOT / path).read_text()))))}
    assert not lost


@pytest.mark.parametrize(
    "text",
    [
        "docs/protocol.md" + ', "No such heading"',
        "docs/no-such-page" + ".md",
        "`lifecycle/no_such" + ".py`",
        "`rpc.no_such" + "_module`",
        "`trust.errors.No" + "SuchName`",
        "`testbed/no_such" + "_folder`",
    ],
)
def test_what_is_not_there_is_found(text: str) -> None:
    assert list(broken("README.md", text))
