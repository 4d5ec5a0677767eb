"""A small lab's backup: a folder with the database's dump, the folders that hold keys, and a list of what is in it.

The database is dumped and put back by PostgreSQL's own programs; a folder becomes a tar file. Everything is checked
before anything is put back.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, BinaryIO, cast

from admin.lab.sealed import SealedWriter, unsealed
from rpc.files import replace_file
from trust.errors import Code, Refusal

LIST, DUMP = "backup.json", "database.dump"
SCHEMAS = ("plc", "agent", "svm")
FORMAT = 1
PART = 1 << 20

_CONNECTED = """SELECT DISTINCT usename FROM pg_stat_activity
    WHERE usename IN ('plc', 'agent', 'svm') AND datname = current_database()"""
_DROP = f"DROP SCHEMA IF EXISTS {', '.join(SCHEMAS)} CASCADE"


@dataclass(frozen=True, slots=True)
class Place:
    """What a lab consists of.

    Args:
        database_url: libpq's, of a role that may read and make the three schemas.
        folders: that hold keys, by name.
        programs: where pg_dump, pg_restore and psql lie; None: wherever PATH says.
    """

    database_url: str
    folders: Mapping[str, Path]
    programs: Path | None = None

    def program(self, name: str) -> str:
        found = shutil.which(name, path=str(self.programs) if self.programs else None)
        if found is None:
            raise Refusal(
                Code.BAD_INPUT, f"{name} is not there: apt-get install postgresql-client, or set DSLICE_BACKUP_PROGRAMS"
            )
        return found


def save(target: Path, place: Place, passphrase: str | None, now: datetime) -> Mapping[str, int]:
    """Make the backup in `target`, whole or not at all; bytes by file. Refusal(BAD_INPUT) where something is there."""
    if target.exists() and any(target.iterdir()):
        raise Refusal(Code.BAD_INPUT, f"{target} is not empty; name a new folder")
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    try:
        files = {DUMP: _written(part / DUMP, passphrase, partial(_dump, place))}
        for name, folder in place.folders.items():
            files[f"{name}.tar"] = _written(part / f"{name}.tar", passphrase, partial(_pack, folder))
        about = {"format": FORMAT, "made_at": now.isoformat(), "dslice": version("dslice"), "sealed": bool(passphrase)}
        replace_file(part / LIST, json.dumps({**about, "files": files}, indent=1).encode(), 0o600)
        if target.exists():
            target.rmdir()
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return {name: int(file["bytes"]) for name, file in files.items()}


@dataclass(frozen=True, slots=True)
class Backup:
    """One that `save` made."""

    folder: Path
    made_at: str
    sealed: bool
    files: Mapping[str, Mapping[str, Any]]

    @classmethod
    def open(cls, folder: Path) -> "Backup":
        """Refusal(BAD_INPUT) for none, or one of another format."""
        try:
            said = json.loads((folder / LIST).read_text())
            found = cls(folder, str(said["made_at"]), bool(said["sealed"]), said["files"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Refusal(
                Code.BAD_INPUT, f"{folder} is no backup that dslice backup made: {LIST} is missing or damaged"
            ) from error
        if said.get("format") != FORMAT:
            raise Refusal(
                Code.BAD_INPUT, f"{folder} has format {said.get('format')}, this program reads {FORMAT}; update it"
            )
        return found

    def check(self, passphrase: str | None) -> None:
        """Every file is there as it was written, and the passphrase is the right one. Raises Refusal."""
        for name, file in self.files.items():
            try:
                with (self.folder / name).open("rb") as source:
                    digest = hashlib.file_digest(source, "sha256").hexdigest()
            except OSError as error:
                raise Refusal(Code.BAD_INPUT, f"cannot read {self.folder / name}: {error.strerror}") from error
            if digest != file["sha256"]:
                raise Refusal(Code.BAD_INPUT, f"{self.folder / name} is damaged; take another backup")
            for _ in self.read(name, passphrase):
                pass

    def read(self, name: str, passphrase: str | None) -> Iterator[bytes]:
        """A file's content in pieces, unsealed."""
        with (self.folder / name).open("rb") as source:
            if self.sealed:
                yield from unsealed(source, passphrase or "")
            else:
                while piece := source.read(PART):
                    yield piece


def put_back(backup: Backup, place: Place, passphrase: str | None) -> list[Path]:
    """The database, in one transaction, then the folders; where the earlier ones are now. Daemons must be down.

    Raises Refusal: BUSY while they are not; as `Backup.check`, and nothing has changed then.
    """
    backup.check(passphrase)
    missing = [name for name in backup.files if name != DUMP and name.removesuffix(".tar") not in place.folders]
    if missing:
        raise Refusal(Code.BAD_INPUT, f"where do {', '.join(missing)} go? Name their folders in DSLICE_BACKUP_FOLDERS")
    connected = _run([place.program("psql"), "-Atc", _CONNECTED, place.database_url]).split()
    if connected:
        raise Refusal(Code.BUSY, f"daemons of {', '.join(connected)} use the database: stop all of them first")
    _load(backup, place, passphrase)
    return [
        _unpack(backup, name, place.folders[name.removesuffix(".tar")], passphrase)
        for name in backup.files
        if name != DUMP
    ]


def _written(path: Path, passphrase: str | None, fill: Callable[[IO[bytes]], None]) -> Mapping[str, Any]:
    """Write a file of the backup; its entry in the list."""
    with path.open("xb") as file:
        path.chmod(0o600)
        if passphrase:
            sealing = SealedWriter(file, passphrase)
            fill(cast(BinaryIO, sealing))
            sealing.close()
        else:
            fill(file)
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _dump(place: Place, into: IO[bytes]) -> None:
    schemas = [word for schema in SCHEMAS for word in ("-n", schema)]
    with _process(
        [place.program("pg_dump"), "-Fc", *schemas, "-d", place.database_url], stdout=subprocess.PIPE
    ) as dump:
        assert dump.stdout is not None  # noqa: S101  # it is a pipe
        while piece := dump.stdout.read(PART):
            into.write(piece)


def _load(backup: Backup, place: Place, passphrase: str | None) -> None:
    """Into a database in which nothing of the three schemas is left; all of it or nothing.

    All statements are there before the first is run: psql would take the end of half of them for the end.
    """
    private = next(iter(place.folders.values())).parent
    with TemporaryDirectory(dir=private, prefix="restore-") as folder:
        script = Path(folder) / "restore.sql"
        with (
            script.open("wb") as into,
            _process([place.program("pg_restore"), "-f", "-"], stdin=subprocess.PIPE, stdout=into) as restore,
        ):
            assert restore.stdin is not None  # noqa: S101  # it is a pipe
            for piece in backup.read(DUMP, passphrase):
                restore.stdin.write(piece)
        psql = [place.program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-d", place.database_url]
        with _process([*psql, "-c", _DROP, "-f", str(script)], stdout=subprocess.DEVNULL):
            pass


def _pack(folder: Path, into: IO[bytes]) -> None:
    if not folder.is_dir():
        raise Refusal(Code.BAD_INPUT, f"{folder} is not there; correct DSLICE_BACKUP_FOLDERS")
    with tarfile.open(fileobj=into, mode="w|") as tar:
        tar.add(folder, arcname=".", filter=lambda one: one if one.isfile() or one.isdir() else None)


def _unpack(backup: Backup, name: str, folder: Path, passphrase: str | None) -> Path:
    """Put a folder in place once it is whole; what was there is beside it afterwards."""
    fresh, before = (folder.with_name(f"{folder.name}.{word}") for word in ("restored", "before-restore"))
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    with tarfile.open(fileobj=cast(IO[bytes], _Pieces(backup.read(name, passphrase))), mode="r|") as tar:
        tar.extractall(fresh, filter="data")
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        folder.rename(before)
    fresh.rename(folder)
    return before


class _Pieces:
    """Pieces as a file to read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, size: int) -> bytes:
        while len(self._held) < size and (piece := next(self._pieces, b"")):
            self._held += piece
        found, self._held = self._held[:size], self._held[size:]
        return found


@contextmanager
def _process(argv: list[str], **pipes: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A program of PostgreSQL's. Refusal(INTERNAL) with its last line when it fails."""
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, **pipes)
    try:
        yield process
    except BrokenPipeError:
        pass  # it has failed, and says why
    except BaseException:
        process.kill()
        raise
    finally:
        # What is open still, its other end waits for.
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        assert process.stderr is not None  # noqa: S101  # it is a pipe
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
        process.stderr.close()
        process.wait()
    if process.returncode:
        raise Refusal(Code.INTERNAL, f"{Path(argv[0]).name} failed: {said[-1] if said else 'it said nothing'}")


def _run(argv: list[str]) -> str:
    with _process(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        return process.stdout.read().decode()
