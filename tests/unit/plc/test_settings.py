"""plc's settings: where they come from, and what is wrong with them in one line."""

import json
import os
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from argon2 import PasswordHasher

from plc import directory
from plc.passwords import WAITING, Passwords
from plc.settings import Settings
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("DSLICE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DSLICE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DSLICE_DATABASE_URL", "postgresql://x")


def test_environment_before_file_before_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "plc.toml").write_text('listen = "127.0.0.1:1"\nca_operator = "op@x.org"\nopen = true\n')
    monkeypatch.setenv("DSLICE_CONFIG", str(tmp_path / "plc.toml"))
    monkeypatch.setenv("DSLICE_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("DSLICE_PLC_URL", "https://plc.example.org:7443")
    found = Settings.load()
    assert (found.listen, found.ca_operator, found.open) == ("127.0.0.1:2", "op@x.org", True)
    assert found.names_per_user == 50
    assert found.addresses == ("127.0.0.1", "plc.example.org")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DSLICE_LISTEN", "nowhere", "setting DSLICE_LISTEN: 'nowhere' is not host:port"),
        ("DSLICE_LISTEN", "127.0.0.1:65536", "is not host:port"),
        ("DSLICE_LISTEN", ":1", "is not host:port"),
        ("DSLICE_LISTEN", "0.0.0.0:1", "set DSLICE_PLC_URL"),
        ("DSLICE_SMTP_URL", "http://x", "setting DSLICE_SMTP_URL: 'http://x' is not smtp://"),
        ("DSLICE_SMTP_URL", "smtp://", "is not smtp://"),
        ("DSLICE_USER_LIFETIME", "7776001", "setting DSLICE_USER_LIFETIME"),
        ("DSLICE_SERVICE_LIFETIME", "0", "setting DSLICE_SERVICE_LIFETIME"),
        ("DSLICE_NAMES_PER_USER", "0", "setting DSLICE_NAMES_PER_USER"),
        ("DSLICE_PLC_OPEN", "perhaps", "setting DSLICE_PLC_OPEN"),
        ("DSLICE_CONFIG", "/nonexistent.toml", "which is not there"),
    ],
)
def test_what_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Refusal) as caught:
        Settings.load()
    assert caught.value.code is Code.BAD_INPUT
    assert words in caught.value.reason


def test_what_is_missing_or_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "plc.toml").write_text("listen = ")
    monkeypatch.setenv("DSLICE_CONFIG", str(tmp_path / "plc.toml"))
    with pytest.raises(Refusal, match="cannot read"):
        Settings.load()
    monkeypatch.delenv("DSLICE_CONFIG")
    monkeypatch.delenv("DSLICE_STATE_DIR")
    with pytest.raises(Refusal, match="DSLICE_STATE_DIR is not set"):
        Settings.load()


class TestDirectoryFile:
    def test_the_operators_own(self, tmp_path: Path) -> None:
        said = {"svmd": "https://a:1", "svm": "lab", "agents": [{"name": "x", "url": "https://b:2"}]}
        (tmp_path / "d.json").write_text(json.dumps(said))
        found = directory.from_file(tmp_path / "d.json")
        assert found == {**said, "svm": Identity(Role.SVM, "lab").uri}

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"svmd": "https://a:1", "svm": "lab", "agents": 1}', '{"svmd": "x", "agents": []}']
    )
    def test_what_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(Refusal) as caught:
            directory.from_file(tmp_path / "d.json")
        assert caught.value.code is Code.BAD_INPUT
        with pytest.raises(Refusal):
            directory.from_file(tmp_path / "missing.json")


class TestPasswords:
    def test_argon2id(self) -> None:
        passwords = Passwords()
        stored = passwords.hash("correct horse")
        assert stored.startswith("$argon2id$")
        assert passwords.matches("correct horse", stored)
        assert not passwords.matches("wrong horse", stored)
        assert not passwords.matches("correct horse", "no hash at all")

    def test_an_unknown_email_costs_a_hash_too_and_never_matches(self) -> None:
        class Counting(PasswordHasher):
            seen: ClassVar[list[object]] = []

            def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
                self.seen.append(hash)
                return super().verify(hash, password)

        passwords = Passwords()
        passwords._hasher = Counting()
        passwords.prepare()
        assert not passwords.matches("nobody has this password", None)
        assert Counting.seen == [passwords._nobody]
        cost = [one.split("$")[1:4] for one in (passwords.hash("correct horse"), passwords._nobody)]
        assert cost[0] == cost[1]

    @pytest.mark.parametrize("password", ["", "x" * 7, "x" * 513])
    def test_too_short_and_too_long(self, password: str) -> None:
        with pytest.raises(Refusal, match="8 to 512"):
            Passwords().hash(password)

    def test_a_crowd_is_sent_away(self) -> None:
        passwords = Passwords()
        for _ in range(WAITING):
            passwords._waiting.acquire()
        with pytest.raises(Refusal) as caught:
            passwords.matches("x", None)
        assert caught.value.code is Code.OVER_CAPACITY
