"""`svm hook`: where an owner is told, of what, and what came of it."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text

from lifecycle import hooks
from lifecycle.outbox import came_to, take
from rpc.fate import Fate
from rpc.settings import split_networks
from svm.commands import hooks as command
from tests.integration.svm.conftest import Lab, Running, Svm, running
from trust.identity import Identity

URL = "https://hooks.example.org/1?key=x"


class Typed:
    """What the last command said."""

    def __init__(self, svm: Svm, capsys: pytest.CaptureFixture[str]) -> None:
        self._svm, self._capsys = svm, capsys

    def __call__(self, status: int, *words: str) -> tuple[str, str]:
        """(stdout, stderr) of a command that ends with this status."""
        self._capsys.readouterr()
        assert self._svm(*words) == status, words
        out, err = self._capsys.readouterr()
        return out, err


@pytest.fixture
def typed(svm: Svm, demo: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    assert svm("createslice", demo) == 0
    return Typed(svm, capsys)


def test_one_is_added_listed_and_removed(typed: Typed) -> None:
    assert "demo has no hooks; add one with: svm hook demo add URL" in typed(0, "hook", "demo", "list")[0]
    out, err = typed(0, "hook", "demo", "add", URL, "--on", "ended, failed,ended")
    assert out.startswith("whsec_")
    assert out.count("\n") == 1
    assert "shown once" in err
    assert out.strip() not in typed(0, "hook", "demo", "list")[0]
    again, _ = typed(0, "hook", "demo", "add", URL, "--on", "healed")
    assert again != out
    lines = typed(0, "hook", "demo", "list")[0].splitlines()
    assert [line.split() for line in lines] == [["URL", "TOLD", "OF", "LAST"], [URL, "healed", "nothing", "yet"]]
    assert typed(0, "hook", "demo", "remove", URL)[0] == f"{URL} is told nothing any more\n"
    assert "no hooks" in typed(0, "hook", "demo", "list")[0]
    assert "svm hook SLICE list shows those it has" in typed(1, "hook", "demo", "remove", URL)[1]


def test_without_on_it_is_told_of_everything(typed: Typed) -> None:
    typed(0, "hook", "demo", "add", URL)
    assert "ending,ended,failed,healed" in typed(0, "hook", "demo", "list")[0]


def test_as_json(typed: Typed) -> None:
    made = json.loads(typed(0, "--json", "hook", "demo", "add", URL, "--on", "ended")[0])
    assert (made["type"], made["url"], made["states"]) == ("row", URL, ["ended"])
    assert made["secret"].startswith("whsec_")
    (row,) = [json.loads(line) for line in typed(0, "--json", "hook", "demo", "list")[0].splitlines()]
    assert (row["url"], row["states"], row["last"]) == (URL, ["ended"], None)
    assert "secret" not in row
    assert json.loads(typed(0, "--json", "hook", "demo", "remove", URL)[0])["removed"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add",), "add needs a URL"),
        (("remove",), "remove needs a URL"),
        (("test",), "test needs a URL"),
        (("list", URL), "list takes no URL"),
        (("remove", URL, "--on", "ended"), "--on goes with add"),
        (("add", URL, "--on", "started"), "'started' is nothing that a hook is told of"),
        (("add", URL, "--on", ""), "'' is nothing that a hook is told of"),
        (("add", "hooks.example.org"), "is not https://HOST"),
        (("send", URL), "'send' is not one of"),
    ],
)
def test_bad_input_is_one_line(typed: Typed, words: tuple[str, ...], said: str) -> None:
    out, err = typed(2, "hook", "demo", *words)
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


@pytest.mark.parametrize("url", ["https://127.0.0.1/x", "https://10.0.0.1/", "http://hooks.example.org/"])
def test_where_only_the_operator_may_let_it_be(typed: Typed, url: str) -> None:
    assert "the operator of svmd can allow it (DSLICE_HOOKS_ALLOW)" in typed(4, "hook", "demo", "add", url)[1]


def test_what_the_operator_allows(
    typed: Typed, svmd: Running, lab: Lab, database: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same svmd with that setting."""
    with running(lab, database, hooks_allow=split_networks("127.0.0.0/8")) as open_minded:
        kept = json.loads((home / "directory.json").read_text())
        (home / "directory.json").write_text(json.dumps({**kept, "svmd": open_minded.url}))
        assert typed(0, "hook", "demo", "add", "http://127.0.0.1:8000/")[0].startswith("whsec_")


def test_eleven_are_too_many(typed: Typed) -> None:
    for number in range(10):
        typed(0, "hook", "demo", "add", f"{URL}{number}")
    assert "at most 10 hooks" in typed(1, "hook", "demo", "add", URL)[1]
    typed(0, "hook", "demo", "remove", f"{URL}0")
    typed(0, "hook", "demo", "add", URL)


def test_another_s_slice_has_no_hooks_of_mine(
    typed: Typed, svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(0, "hook", "demo", "add", URL)
    monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user("other@b.example"))))
    for words in (("list",), ("add", URL), ("remove", URL), ("test", URL)):
        assert "somebody else's" in typed(4, "hook", "demo", *words)[1]


def test_who_is_no_pi_changes_none(typed: Typed, svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(0, "hook", "demo", "add", URL)
    plain = lab.credentials(Identity.user("pi@a.example"), pi=False)
    monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(plain)))
    typed(0, "hook", "demo", "list")
    for words in (("add", URL), ("remove", URL), ("test", URL)):
        assert "is not a PI" in typed(4, "hook", "demo", *words)[1]


@pytest.fixture
def worker_says(svmd: Running, database: Engine, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What comes of each delivery, as a worker would say: it is said when the command looks for that."""
    del svmd
    said: dict[str, Any] = {"fate": Fate.SENT, "reason": "", "status": 204}
    look = hooks.listed

    def listed(connection: Connection, slice_row: UUID) -> list[hooks.Hook]:
        with database.begin() as working:
            for one in take(working, letters=False):
                came_to(working, one, **said)
        return look(connection, slice_row)

    monkeypatch.setattr(hooks, "listed", listed)
    return said


def test_a_test_that_arrives(typed: Typed, worker_says: dict[str, Any]) -> None:
    typed(0, "hook", "demo", "add", URL)
    assert typed(0, "hook", "demo", "test", URL)[0] == f"Success on {URL}: 204\n"
    assert "test: 204 at 20" in typed(0, "hook", "demo", "list")[0]


def test_a_test_that_fails_says_why_and_when_it_is_tried_again(typed: Typed, worker_says: dict[str, Any]) -> None:
    worker_says |= {"fate": Fate.LATER, "reason": "it answered 503", "status": 503}
    typed(0, "hook", "demo", "add", URL)
    assert typed(1, "hook", "demo", "test", URL)[0] == f"Error on {URL}: it answered 503\n"
    assert "test: it answered 503, next try 20" in typed(0, "hook", "demo", "list")[0]
    failed = json.loads(typed(1, "--json", "hook", "demo", "test", URL)[0])
    assert (failed["ok"], failed["reason"]) == (False, "it answered 503")


def test_a_test_that_nobody_takes(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "TEST_SECONDS", 0)
    typed(0, "hook", "demo", "add", URL)
    assert "see: svm hook demo list" in typed(5, "hook", "demo", "test", URL)[1]
    assert "test: waits" in typed(0, "hook", "demo", "list")[0]


def test_the_secret_is_sealed(typed: Typed, database: Engine) -> None:
    secret, _ = typed(0, "hook", "demo", "add", URL)
    with database.connect() as connection:
        (sealed,) = connection.scalars(text("SELECT sealed_secret FROM svm.hook"))
    assert secret.strip().encode() not in bytes(sealed)


def test_a_slice_that_is_gone_takes_none_and_shows_what_its_hooks_were_told(typed: Typed) -> None:
    typed(0, "hook", "demo", "add", URL)
    typed(0, "deleteslice", "demo")
    for words in (("add", URL), ("test", URL)):
        assert typed(1, "hook", "demo", *words)[1].startswith("svm: no slice demo")
    assert "ended: waits" in typed(0, "hook", "demo", "list")[0]
