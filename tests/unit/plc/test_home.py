"""The key directory: where it is, what is set, who else may look into it."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rpc.credentials import Credentials
from svm.home import Home
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("DSLICE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PLANETLAB_HOME", str(tmp_path / "home"))


def a_home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


def test_the_default_is_the_howtos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PLANETLAB_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.find() == Home(tmp_path / ".planetlab", None)


def test_environment_before_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = a_home(tmp_path)
    (folder / "config.toml").write_text('plc = "https://a:1"\nsvmd = "https://b:2"\nca_file = "/ca.pem"\nother = 1\n')
    assert Home.find() == Home(folder, "https://a:1", "https://b:2", Path("/ca.pem"))
    monkeypatch.setenv("DSLICE_PLC_URL", "https://c:3")
    monkeypatch.setenv("DSLICE_SVMD_URL", "https://d:4")
    monkeypatch.setenv("DSLICE_CA_FILE", "/other.pem")
    monkeypatch.setenv("DSLICE_CA_FINGERPRINT", "AB:CD")
    assert Home.find() == Home(folder, "https://c:3", "https://d:4", Path("/other.pem"), "abcd")


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    (a_home(tmp_path) / "config.toml").write_text("plc = ")
    with pytest.raises(Refusal, match="cannot read") as caught:
        Home.find()
    assert caught.value.code is Code.BAD_INPUT


def test_who_else_may_look(tmp_path: Path) -> None:
    home = Home.find()
    home.check()  # nothing there yet
    folder = a_home(tmp_path)
    home.check()
    for name in ("key.pem", "next.key.pem"):
        (folder / name).write_text("")
        (folder / name).chmod(0o640)
        with pytest.raises(Refusal, match=f"chmod 600 {folder / name}"):
            home.check()
        (folder / name).chmod(0o600)
    folder.chmod(0o710)
    with pytest.raises(Refusal, match=f"chmod 700 {folder}"):
        home.check()


@pytest.mark.parametrize("what", ["folder", "key"])
def test_links_and_other_things(tmp_path: Path, what: str) -> None:
    if what == "folder":
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "home").symlink_to(tmp_path / "real")
    else:
        (tmp_path / "key").write_text("")
        (a_home(tmp_path) / "key.pem").symlink_to(tmp_path / "key")
    with pytest.raises(Refusal, match="not a link") as caught:
        Home.find().check()
    assert caught.value.code is Code.NOT_ALLOWED


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Refusal, match="must be a folder"):
        Home.find().check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    os.chown(a_home(tmp_path), 12345, -1)
    with pytest.raises(Refusal, match="belongs to another user"):
        Home.find().check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks everywhere")
def test_a_folder_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    monkeypatch.setenv("PLANETLAB_HOME", str(tmp_path / "closed" / "home"))
    with pytest.raises(Refusal, match="cannot"):
        Home.find().check()


def test_where_is_plc() -> None:
    with pytest.raises(Refusal, match="DSLICE_PLC_URL"):
        Home.find().require_plc()


def test_a_certificate_is_required_that_has_not_ended(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="run plkeygen") as caught:
        Home.find().require_certificate()
    assert caught.value.code is Code.NOT_AUTHENTICATED

    now, key = datetime.now(UTC), new_private_key(Role.USER)
    authority = Authority.create(now - timedelta(days=2))
    for days, fits in ((1, False), (3, True)):
        made = authority.issue(
            Identity.user("a@x.org"), key.public_key(), now=now - timedelta(days=2), lifetime=days * 86_400
        )
        root = certificate_to_pem(authority.certificate)
        Credentials(tmp_path / "home").save(
            key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(made), ca_pem=root
        )
        if fits:
            assert Home.find().require_certificate().identity == Identity.user("a@x.org")
        else:
            with pytest.raises(Refusal, match="your certificate ended at"):
                Home.find().require_certificate()
