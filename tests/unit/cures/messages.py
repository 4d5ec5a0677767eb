"""Every message of the product that names a command to type, read from its source."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.product import PACKAGES, ROOT

EXAMPLES = ROOT / "admin/pages.py"  # man pages; tests/unit/admin/test_man.py looks at them
_VERBS = "createslice|deleteslice|newtickets|newleases|newvms|addkey|delkey|nukekeys|renewslice"
_NAMES = re.compile(
    rf"\b(?:svm|dslice|pluserinfo) (?:-|[a-z]|\{{)|\bplkeygen\b|\b(?:{_VERBS})\b|\b(?:try|command) again\b",
    re.IGNORECASE,
)
_SKIPPED_CALLS = ("debug", "info", "warning", "error", "exception", "text")  # logs and SQL
_SKIPPED_WORDS = ("help", "prog_name", "title")


@cache
def messages() -> dict[str, str]:
    """Where each stands, by its text; `{}` stands for what is put in."""
    return {
        text: f"{path.relative_to(ROOT)}:{line}"
        for folder in PACKAGES
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "migrations" not in path.parts and path != EXAMPLES
        for line, text in _texts(ast.parse(path.read_text()))
        if " " in text and _NAMES.search(text)
    }


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    skipped = {id(part) for node in ast.walk(tree) for part in _skipped(node)}
    for node in ast.walk(tree):
        text = _text(node)
        if text is not None and id(node) not in skipped:
            yield node.lineno, text  # type: ignore[attr-defined]


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _skipped(node: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, the parts of an f-string, help, logs, SQL."""
    if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield from (part.value for part in node.body if isinstance(part, ast.Expr))
    elif isinstance(node, ast.JoinedStr):
        yield from node.values
    elif isinstance(node, ast.keyword) and node.arg in _SKIPPED_WORDS:
        yield from ast.walk(node.value)
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in _SKIPPED_CALLS:
        yield from ast.walk(node)
