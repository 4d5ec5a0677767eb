"""The table of verbs is whole."""

import importlib

import pytest

from lifecycle.verbs import USER_VERBS, VERBS, Takes
from models.states import Kind, Verb


def test_every_verb_has_its_row() -> None:
    assert set(VERBS) == set(Verb)


def test_every_step_is_of_a_verb() -> None:
    assert {kind for row in VERBS.values() for kind in (*row.chain, row.after_deletions) if kind} == set(Kind)


@pytest.mark.parametrize("verb", USER_VERBS)
def test_a_users_verb_has_its_command(verb: Verb) -> None:
    assert callable(getattr(importlib.import_module(f"svm.commands.{USER_VERBS[verb].command}"), verb))


def test_what_is_about_no_slice_changes_no_node() -> None:
    assert [verb for verb, row in VERBS.items() if row.takes is Takes.NOTHING and row.chain] == []
