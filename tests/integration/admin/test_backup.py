"""Backups with PostgreSQL's own programs: whole or not at all, and nothing is put back that is not whole."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from admin.lab.backup import DUMP, LIST, Backup, Place, put_back, save
from models.database import migrate
from testbed.embedded import SUPERUSER, Postgres, server_program
from trust.errors import Code, Refusal

NOW = datetime(2026, 11, 29, tzinfo=UTC)
WORD = "correct horse"


class Lab:
    """A database with plc's tables, and a folder with a key."""

    def __init__(self, postgres: Postgres, name: str, folder: Path) -> None:
        self.url = postgres.url(SUPERUSER, name)
        migrate(postgres.url("plc", name), "plc")
        self.key = folder / "plc" / "authority.pem"
        self.key.parent.mkdir()
        self.key.write_text("the key")
        self.key.chmod(0o600)
        url = self.url.replace("postgresql+psycopg", "postgresql")
        self.place = Place(url, {"plc": self.key.parent}, server_program("psql").parent)

    def add_site(self, name: str) -> None:
        self._run("INSERT INTO plc.site (name, made_at) VALUES (:name, now())", name=name)

    def sites(self) -> list[str]:
        return self._run("SELECT name FROM plc.site ORDER BY name")

    def _run(self, statement: str, **bound: str) -> list[str]:
        engine = create_engine(self.url)
        with engine.begin() as connection:
            found = connection.execute(text(statement), bound)
            names = [row[0] for row in found] if found.returns_rows else []
        engine.dispose()
        return names


@pytest.fixture
def lab(postgres: Postgres, tmp_path: Path) -> Iterator[Lab]:
    name = f"backup_{uuid4().hex[:12]}"
    postgres.create_database(name)
    yield Lab(postgres, name, tmp_path)
    postgres.drop_database(name)


def refused(code: Code, words: str, call: object) -> None:
    with pytest.raises(Refusal) as caught:
        call()  # type: ignore[operator]
    assert (caught.value.code, words in caught.value.reason) == (code, True), caught.value.reason


@pytest.mark.parametrize("word", [None, WORD])
def test_what_was_saved_comes_back_whatever_is_there_by_then(lab: Lab, tmp_path: Path, word: str | None) -> None:
    lab.add_site("Rice")
    found = save(tmp_path / "saved", lab.place, word, NOW)
    assert found.keys() == {DUMP, "plc.tar"}
    assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "saved").iterdir())
    assert (b"PGDMP" in (tmp_path / "saved" / DUMP).read_bytes()[:16]) is (word is None)

    lab.add_site("Later")
    lab.key.write_text("another")
    (lab.key.parent / "more").touch()
    (before,) = put_back(Backup.open(tmp_path / "saved"), lab.place, word)
    assert lab.sites() == ["Rice"]
    assert [path.name for path in lab.key.parent.iterdir()] == ["authority.pem"]
    assert (lab.key.read_text(), lab.key.stat().st_mode & 0o777) == ("the key", 0o600)
    assert (before / "authority.pem").read_text() == "another"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("restore-")]
    put_back(Backup.open(tmp_path / "saved"), lab.place, word)
    assert lab.sites() == ["Rice"]


def test_a_folder_that_is_in_use_is_not_taken(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused(Code.BAD_INPUT, "is not empty", lambda: save(tmp_path / "full", lab.place, None, NOW))


def test_a_backup_that_fails_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    gone = Place(lab.place.database_url, {"plc": tmp_path / "nowhere"}, lab.place.programs)
    refused(Code.BAD_INPUT, "is not there", lambda: save(tmp_path / "saved", gone, None, NOW))
    wrong = Place(lab.place.database_url.replace("/backup_", "/no_"), lab.place.folders, lab.place.programs)
    refused(Code.INTERNAL, "pg_dump failed", lambda: save(tmp_path / "saved", wrong, None, NOW))
    none = Place(lab.place.database_url, lab.place.folders, tmp_path)
    refused(Code.BAD_INPUT, "apt-get install postgresql-client", lambda: save(tmp_path / "saved", none, None, NOW))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plc"]


def test_nothing_is_put_back_of_one_that_is_not_whole(lab: Lab, tmp_path: Path) -> None:
    save(tmp_path / "saved", lab.place, WORD, NOW)
    lab.add_site("Later")
    found = Backup.open(tmp_path / "saved")
    refused(Code.NOT_ALLOWED, "wrong passphrase", lambda: put_back(found, lab.place, "wrong"))
    elsewhere = Place(lab.place.database_url, {"agent": tmp_path / "agent"}, lab.place.programs)
    refused(Code.BAD_INPUT, "where do plc.tar go", lambda: put_back(found, elsewhere, WORD))
    tar = tmp_path / "saved" / "plc.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    refused(Code.BAD_INPUT, "is damaged", lambda: put_back(found, lab.place, WORD))
    tar.unlink()
    refused(Code.BAD_INPUT, "cannot read", lambda: put_back(found, lab.place, WORD))
    assert lab.sites() == ["Later"]
    assert lab.key.read_text() == "the key"
    said = json.loads((tmp_path / "saved" / LIST).read_text())
    (tmp_path / "saved" / LIST).write_text(json.dumps(said | {"format": 2}))
    refused(Code.BAD_INPUT, "has format 2", lambda: Backup.open(tmp_path / "saved"))
    refused(Code.BAD_INPUT, "is no backup", lambda: Backup.open(tmp_path))


def test_a_dump_that_does_not_load_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    """As one of another PostgreSQL: half of it is not taken for all."""
    save(tmp_path / "saved", lab.place, None, NOW)
    lab.add_site("Later")
    for content in (b"PGDMP nonsense", b""):
        dump, listed = tmp_path / "saved" / DUMP, tmp_path / "saved" / LIST
        dump.write_bytes(content)
        said = json.loads(listed.read_text())
        digest = subprocess.run(["sha256sum", dump], capture_output=True, text=True, check=True).stdout.split()[0]
        said["files"][DUMP]["sha256"] = digest
        listed.write_text(json.dumps(said))
        found = Backup.open(tmp_path / "saved")
        refused(Code.INTERNAL, "pg_restore failed", lambda back=found: put_back(back, lab.place, None))
        assert lab.sites() == ["Later"]


def test_daemons_must_be_down(lab: Lab, tmp_path: Path) -> None:
    save(tmp_path / "saved", lab.place, None, NOW)
    engine = create_engine(lab.url.replace(f"//{SUPERUSER}@", "//plc@"))
    with engine.connect():
        refused(Code.BUSY, "daemons of plc use", lambda: put_back(Backup.open(tmp_path / "saved"), lab.place, None))
    engine.dispose()
