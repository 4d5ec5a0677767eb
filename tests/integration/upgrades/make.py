"""Make `saved/` anew: `python -m tests.integration.upgrades.make [NAME …]`, a name being `svm_0009` or `node_0008`.

For each version that landed on main, its tables as its own code made them (out of the git history), with `rows/` in
them, as SQL text. When a version with a new revision has landed, it gets a line here.
"""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from testbed.embedded import Postgres, server_program

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SAVED, ROWS = HERE / "saved", HERE / "rows"

# The commit whose code made the revision as it landed; 8 of svm came with 9, and 10 and 11 with 12.
LANDED = {
    "svm": {1: "e598e7d", 2: "14b5e5b", 3: "bea993c", 4: "dc8b23c", 5: "5b4921a", 6: "9a50415", 7: "93be364"}
    | {9: "933c66f", 12: "c531a50"},
    "agent": {1: "41c025e", 2: "8fc5806", 3: "4578d27", 4: "2e78e04", 5: "933c66f"},
    "plc": {1: "41c025e", 2: "8fc5806", 3: "933c66f", 4: "c531a50"},
}
# A node's store counts by itself; 3 and 5 landed with 4 and 6.
NODES = {1: "e598e7d", 2: "14b5e5b", 4: "2cabcfe", 6: "2e78e04", 7: "bee98e7", 8: "0fae8cf"}

MIGRATE = """
import sys
from alembic import command
from models import database
url, schema, revision = sys.argv[1:]
with database.engine(url).begin() as connection:
    command.upgrade(database.config(schema, connection), revision)
"""
STORE = """
try:
    from nodemgr.storage.schema import SCHEMA, VERSION
except ImportError:
    from nodemgr.store import SCHEMA, VERSION
print(f"{SCHEMA}PRAGMA user_version = {VERSION};")
"""
NOISE = ("--", "SET ", "CREATE SCHEMA", "SELECT pg_catalog.set_config", "\\restrict", "\\unrestrict")


@contextmanager
def code_of(commit: str) -> Iterator[Path]:
    """The project as it was."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["git", "-C", ROOT, "archive", commit], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
        yield Path(folder)


def told(folder: Path, program: str, *words: str) -> str:
    """What a program prints that imports the code of that folder."""
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", program, *words], env=env, cwd=folder, stdout=subprocess.PIPE, check=True
    )
    return ran.stdout.decode()


def rows(schema: str, revision: int) -> str:
    """What is put into this revision's tables."""
    parts = re.split(r"^-- (\d+)(?: (\d+))?$", (ROWS / f"{schema}.sql").read_text(), flags=re.MULTILINE)[1:]
    return "".join(
        sql
        for first, last, sql in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        if int(first) <= revision <= int(last or revision)
    )


def save_schema(server: Postgres, name: str, schema: str, revision: int, commit: str) -> None:
    server.create_database(name)
    url = server.url(schema, name)
    with code_of(commit) as folder:
        told(folder, MIGRATE, url, schema, name)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(rows(schema, revision).encode())
    dump = [str(server_program("pg_dump")), "--inserts", "--no-owner", "--no-privileges", "--no-comments", "-n", schema]
    found = subprocess.run([*dump, url.replace("+psycopg", "")], stdout=subprocess.PIPE, check=True).stdout.decode()
    keep(name, (line for line in found.splitlines() if line and not line.startswith(NOISE)))


def save_store(name: str, version: int, commit: str) -> None:
    with code_of(commit) as folder:
        schema = told(folder, STORE)
    database = sqlite3.connect(":memory:")
    database.executescript(schema)
    database.executescript(rows("node", version))
    keep(name, [*database.iterdump(), f"PRAGMA user_version = {version};"])


def keep(name: str, lines: Iterator[str] | list[str]) -> None:
    (SAVED / f"{name}.sql").write_text("\n".join(lines) + "\n")
    print(name)  # noqa: T201 - for whoever started this


def main(wanted: Sequence[str]) -> None:
    def named(schema: str, revisions: Mapping[int, str]) -> Iterator[tuple[str, int, str]]:
        for revision, commit in revisions.items():
            name = f"{schema}_{revision:04}"
            if not wanted or name in wanted:
                yield name, revision, commit

    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder) / "postgres", scratch=True)
        server.start()
        try:
            for schema, revisions in LANDED.items():
                for name, revision, commit in named(schema, revisions):
                    save_schema(server, name, schema, revision, commit)
        finally:
            server.stop()
    for name, version, commit in named("node", NODES):
        save_store(name, version, commit)


if __name__ == "__main__":
    main(sys.argv[1:])
