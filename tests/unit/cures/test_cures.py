"""A message that names a command needs a test that types it (tried.py): a cure that nobody tried may be none."""

import ast
from functools import cache

import pytest

from tests.product import ROOT
from tests.unit.cures.messages import messages
from tests.unit.cures.tried import NO_CURES, TRIED

FRAGMENTS = [*NO_CURES, *(part for parts in TRIED.values() for part in parts)]


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_message_that_names_a_command_has_been_tried() -> None:
    untried = {where: text for text, where in messages().items() if not any(part in text for part in FRAGMENTS)}
    assert untried == {}, "have a test type what these say, and write it into tests/unit/cures/tried.py"


@pytest.mark.parametrize("part", FRAGMENTS)
def test_nothing_is_tried_that_nobody_says(part: str) -> None:
    assert any(part in text for text in messages())


@pytest.mark.parametrize("test", TRIED)
def test_the_tests_are_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in functions(file)
