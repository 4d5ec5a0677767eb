"""Every verb with a wrong slice name, one that is not there, another's; key files and key directories that are wrong.

Each: one line on stderr, nothing on stdout, its exit status (docs/protocol.md, "The command line"), no operation begun.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from svm import cli_errors
from svm.main import VERBS
from svm.pluserinfo import pluserinfo
from tests.integration.svm.conftest import Lab, Running, Svm, slice_file
from trust.certificates import key_to_pem, new_private_key
from trust.identity import Role
from trust.sshkeys import new_ssh_key_pair

# Every verb that names a slice, as it is typed; NAME and KEY are filled in.
NAMED = (
    "deleteslice NAME",
    "addkey NAME KEY",
    "delkey NAME KEY",
    "nukekeys NAME",
    "rekey NAME",
    "renewslice NAME",
    "nodelist NAME",
    "expirations NAME",
    "expirations --table NAME",
    "newleases NAME",
    "newleases NAME 127.0.1.1",
    "newvms NAME",
    "stop NAME",
    "start NAME",
    "start NAME 127.0.1.1",
    "restart NAME",
    "reset NAME",
    "shrink NAME 127.0.1.1",
    "newvms NAME 127.0.1.1",
    "autorenew NAME on",
    "autorenew NAME off",
    "autorenew NAME status",
    "delegate NAME",
    "undelegate NAME",
    "heal NAME on",
    "heal NAME off",
    "hook NAME list",
    "hook NAME add https://example.org/x",
    "hook NAME remove https://example.org/x",
    "hook NAME test https://example.org/x",
    "status NAME",
    "watch NAME",
    "history NAME",
    "cancel NAME",
    "ssh NAME 127.0.1.1",
    "ssh-config NAME",
    "run NAME -- hostname",
    "inventory NAME",
    "inventory --list NAME",
    "targets NAME",
)
UNNAMED = {"getads", "doctor", "createslice", "newtickets", "clean", "slices", "config", "completion", "help", "cp"}
UNNAMED |= {"plan", "apply", "mcp", "usage", "web"}

Says = Callable[..., str]


@pytest.fixture
def refused(svm: Svm, database: Engine, capsys: pytest.CaptureFixture[str]) -> Says:
    """Type it; it must end with that status, one line and nothing done. The line."""

    def typed(status: int, *words: object) -> str:
        before = operations(database)
        capsys.readouterr()
        assert svm(*words) == status, words
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), (words, err)
        assert err.startswith("svm: ")
        assert operations(database) == before, words
        return err

    return typed


def operations(database: Engine) -> list[object]:
    """All that was ever asked for, and what the slices are."""
    with database.connect() as connection:
        asked = connection.execute(text("SELECT id FROM svm.operation ORDER BY id")).all()
        return [*asked, *connection.execute(text("SELECT name, state, key_generation FROM svm.slice ORDER BY id"))]


def words_of(typed: str, name: str, key: Path) -> list[object]:
    return [name if word == "NAME" else key if word == "KEY" else word for word in typed.split()]


def test_the_list_is_whole() -> None:
    assert {typed.split()[0] for typed in NAMED} | UNNAMED == set(VERBS)


def test_a_wrong_slice_name(refused: Says, key: Path) -> None:
    for typed in NAMED:
        assert "slice name" in refused(2, *words_of(typed, "../x", key))
    for name in ("Demo", "", "d", "root", "a" * 33, "de-mo", "démo", "de mo"):
        assert "slice name" in (said := refused(2, "nodelist", name)) or "reserved" in said, said


def test_a_slice_that_is_not_there(refused: Says, key: Path) -> None:
    for typed in NAMED:
        assert refused(1, *words_of(typed, "none", key)).startswith("svm: no slice none")


def test_a_slice_that_is_anothers(
    refused: Says, svm: Svm, demo: Path, key: Path, svmd: Running, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    svm("createslice", demo)
    monkeypatch.setenv("PLANETLAB_HOME", str(svmd.home(lab.user("other@b.example"))))
    for typed in NAMED:
        assert "somebody else's" in refused(4, *words_of(typed, "demo", key))
    for verb in ("createslice", "newtickets"):
        assert "somebody else's: choose another" in refused(1, verb, demo)


def test_a_node_that_is_not_in_the_slice(refused: Says, svm: Svm, demo: Path) -> None:
    svm("createslice", demo)
    for words in ("newleases demo 10.9.8.7", "newvms demo 127.0.1.1 10.9.8.7", "ssh demo 10.9.8.7"):
        assert "10.9.8.7 is not a node " in refused(1, *words.split())
    for words in ("newleases demo nowhere", "newvms demo /x/leases/nowhere"):
        assert "is not a node: give its IP address or name" in refused(2, *words.split())


def test_a_second_slice_of_the_same_name_while_it_lives(refused: Says, svm: Svm, demo: Path, tmp_path: Path) -> None:
    svm("createslice", demo)
    for verb in ("createslice", "newtickets"):
        assert "deleteslice ends it" in refused(1, verb, demo)
    assert "svm createslice FILE changes it" in refused(2, "newtickets", slice_file(tmp_path / "other.xml", 2))


def broken_keys(folder: Path) -> dict[str, str]:
    """What people give instead of a public key, and the word that says what it is."""
    private, public = new_ssh_key_pair("me")
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", folder / "small"], check=True)
    for name, given in (("ca", private), ("me.pub", f"{public}\n")):
        (folder / name).write_text(given)
        (folder / name).chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-s", folder / "ca", "-I", "me", folder / "me.pub"], check=True)
    return {
        (folder / "small.pub").read_text(): "1024",
        (folder / "me-cert.pub").read_text(): "certificate",
        private: "private key",
        f"{public}\n\nno-pty {public}\n": "line 3: this SSH public key has options",
        f"no-pty {public}\n": "options",
        "": "no SSH public key",
        "hello world\n": "unknown type",
        public.replace("AAAA", "AAA!") + "\n": "key",
        "x" * 20_000: "",
    }


def test_key_files(refused: Says, svm: Svm, demo: Path, tmp_path: Path) -> None:
    svm("createslice", demo)
    path = tmp_path / "given.pub"
    for content, why in broken_keys(tmp_path).items():
        path.write_text(content)
        for verb in ("addkey", "delkey"):
            assert why in (said := refused(2, verb, "demo", path)), said
            assert str(path) in said
    path.unlink()
    for missing in (path, tmp_path):
        assert "cannot be read" in refused(2, "addkey", "demo", missing)


def test_a_key_that_the_slice_does_not_have(refused: Says, svm: Svm, demo: Path, key: Path) -> None:
    svm("createslice", demo)
    assert "not among the slice's keys" in refused(1, "delkey", "demo", key)


@pytest.mark.parametrize("wrong", ["folder", "key", "link"])
def test_a_key_directory_that_others_can_get_at(
    refused: Says,
    home: Path,
    wrong: str,
    key: Path,
    demo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    advice = f"chmod 700 {home}"
    if wrong == "folder":
        home.chmod(0o755)
    elif wrong == "key":
        (home / "key.pem").chmod(0o644)
        advice = f"chmod 600 {home / 'key.pem'}"
    else:
        (tmp_path / "link").symlink_to(home)
        monkeypatch.setenv("PLANETLAB_HOME", str(tmp_path / "link"))
        advice = "not a link"
    for words in [words_of(typed, "demo", key) for typed in NAMED] + [["getads"], ["createslice", demo], ["clean"]]:
        assert advice in refused(4, *words)
    status = cli_errors.run(pluserinfo, "pluserinfo", ["pi@a.example"])
    said = capsys.readouterr().err
    assert (status, said.count("\n"), advice in said) == (4, 1, True), said


def test_a_certificate_that_is_no_good(refused: Says, home: Path) -> None:
    """Each is told apart, and none is called missing but the one that is."""
    certificate = home / "cert.pem"
    (home / "key.pem").write_text(key_to_pem(new_private_key(Role.USER)))
    (home / "key.pem").chmod(0o600)
    assert "belongs to another key" in (said := refused(4, "getads")), said
    certificate.write_text("junk")
    assert f"{certificate}: not a PEM certificate; get a new one with plkeygen" in refused(4, "getads")
    certificate.unlink()
    assert "no certificate in" in refused(4, "getads")
