"""The tables of a node's database on disk, and how those of earlier versions become them."""

import sqlite3

from nodemgr.storage.databasefile import DatabaseFile, Statement, cannot_write
from trust.errors import Code, Refusal
from trust.identity import Identity

VERSION = 8

INTERVAL = """CREATE TABLE interval (
    id       TEXT PRIMARY KEY,
    kind     TEXT NOT NULL CHECK (kind IN ('granted', 'used')),
    slice    TEXT NOT NULL,
    slice_id TEXT NOT NULL,
    owner    TEXT NOT NULL,
    began    INTEGER NOT NULL,
    bound    INTEGER NOT NULL,     -- the lease's end: an open one counts to it at most
    ended    INTEGER,
    told     INTEGER NOT NULL      -- whether plc knows it as it is
) STRICT, WITHOUT ROWID;
"""

SCHEMA = """
CREATE TABLE node (uri TEXT PRIMARY KEY) STRICT;
CREATE TABLE burnt (
    jti        TEXT NOT NULL,
    owner      TEXT NOT NULL,
    agent      TEXT NOT NULL,      -- '' when the ticket was deleted here without ever being shown
    slice_id   TEXT NOT NULL,
    expires_at INTEGER NOT NULL,   -- the ticket's own end
    PRIMARY KEY (jti, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX burnt_owner ON burnt (owner, agent);
CREATE TABLE lease (
    slice          TEXT PRIMARY KEY,
    slice_id       TEXT NOT NULL UNIQUE,
    owner          TEXT NOT NULL,
    via            TEXT,           -- the service manager through which it was made, if any
    jti            TEXT NOT NULL UNIQUE,
    leaselen       INTEGER NOT NULL CHECK (leaselen BETWEEN 1 AND 1209600),
    generation     INTEGER NOT NULL CHECK (generation >= 1),
    token          TEXT NOT NULL,
    expires_at     INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('leased', 'creating', 'running')),
    slice_key      TEXT,           -- public half
    key_generation INTEGER NOT NULL CHECK (key_generation >= 0),
    keys           TEXT NOT NULL CHECK (keys GLOB '[[]*]'),
    pair_generation INTEGER NOT NULL DEFAULT 0 CHECK (pair_generation >= 0),  -- of the slice's own key pair
    needs          TEXT NOT NULL DEFAULT '{}' CHECK (needs GLOB '{*}'),  -- what it said that it needs
    CHECK (state = 'leased' OR slice_key IS NOT NULL),
    FOREIGN KEY (jti, owner) REFERENCES burnt
) STRICT;
CREATE TABLE removal (
    slice    TEXT NOT NULL,
    slice_id TEXT NOT NULL,
    needs    TEXT NOT NULL DEFAULT '{}' CHECK (needs GLOB '{*}'),  -- what it has until it is removed
    PRIMARY KEY (slice, slice_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE stopped (owner TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE power (           -- what was ordered last of a sliver, and why it does not run (`nodemgr/power.py`)
    slice_id   TEXT PRIMARY KEY,
    ordered_at INTEGER NOT NULL,   -- microseconds; 0: never
    since      INTEGER,
    reason     TEXT NOT NULL       -- '' when its owner had it stopped
) STRICT, WITHOUT ROWID;
CREATE TABLE past (
    slice_id   TEXT PRIMARY KEY,
    generation INTEGER NOT NULL CHECK (generation >= 1),
    ended_at   INTEGER NOT NULL,
    owner      TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
"""
SCHEMA += INTERVAL


# From each version to the next.
UPGRADES = {
    1: "ALTER TABLE lease ADD COLUMN pair_generation INTEGER NOT NULL DEFAULT 0 CHECK (pair_generation >= 0)",
    2: "ALTER TABLE past ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
    3: "CREATE INDEX burnt_owner ON burnt (owner, agent)",
    4: "ALTER TABLE lease ADD COLUMN needs TEXT NOT NULL DEFAULT '{}' CHECK (needs GLOB '{*}')",
    5: "ALTER TABLE removal ADD COLUMN needs TEXT NOT NULL DEFAULT '{}' CHECK (needs GLOB '{*}')",
    6: "CREATE TABLE power (slice_id TEXT PRIMARY KEY, ordered_at INTEGER NOT NULL, since INTEGER,"
    " reason TEXT NOT NULL) STRICT, WITHOUT ROWID",
    7: INTERVAL,
}


def prepare(file: DatabaseFile, node: Identity) -> None:
    """Make the tables where there are none, or bring them to this version.

    Raises:
        Refusal: BAD_INPUT for a file of another node or of a later version; DISK_FULL.
    """
    found = file.rows("PRAGMA user_version")[0][0]
    if found not in (0, VERSION, *UPGRADES):
        raise Refusal(Code.BAD_INPUT, f"{file.path} is of version {found}, this program reads {VERSION}; upgrade it")
    steps: list[Statement] = []
    if found == 0:
        steps += [(statement, ()) for statement in SCHEMA.split(";\n") if statement]
        steps += [("INSERT INTO node VALUES (?)", (node.uri,))]
    steps += [(UPGRADES[version], ()) for version in range(found, VERSION) if found]
    try:
        if steps:
            file.write([*steps, (f"PRAGMA user_version = {VERSION}", ())])
    except sqlite3.OperationalError as error:
        raise cannot_write(error) from error
    owner = file.rows("SELECT uri FROM node")[0][0]
    if owner != node.uri:
        raise Refusal(Code.BAD_INPUT, f"{file.path} belongs to {owner}, not to {node}; give each node its own folder")
