BEGIN TRANSACTION;
CREATE TABLE burnt (
    jti        TEXT NOT NULL,
    owner      TEXT NOT NULL,
    agent      TEXT NOT NULL,      -- '' when the ticket was deleted here without ever being shown
    slice_id   TEXT NOT NULL,
    expires_at INTEGER NOT NULL,   -- the ticket's own end
    PRIMARY KEY (jti, owner)
) STRICT, WITHOUT ROWID;
INSERT INTO "burnt" VALUES('jti-1','spiffe://planet-lab/user/alice@example.org','spiffe://planet-lab/agent/agent','00000000-0000-0000-0000-000000000001',4070908800);
INSERT INTO "burnt" VALUES('jti-2','spiffe://planet-lab/user/alice@example.org','','00000000-0000-0000-0000-000000000002',4070908800);
CREATE TABLE interval (
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
INSERT INTO "interval" VALUES('one','granted','alpha','00000000-0000-0000-0000-000000000001','spiffe://planet-lab/user/alice@example.org',1577836800,4070908800,NULL,1);
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
INSERT INTO "lease" VALUES('alpha','00000000-0000-0000-0000-000000000001','spiffe://planet-lab/user/alice@example.org','spiffe://planet-lab/svm/svm','jti-1',3600,2,'a lease',4070908800,'running','ssh-ed25519 AAAA',1,'["ssh-ed25519 AAAA"]',1,'{"memory_mb": 512}');
CREATE TABLE node (uri TEXT PRIMARY KEY) STRICT;
INSERT INTO "node" VALUES('spiffe://planet-lab/node/n1');
CREATE TABLE past (
    slice_id   TEXT PRIMARY KEY,
    generation INTEGER NOT NULL CHECK (generation >= 1),
    ended_at   INTEGER NOT NULL,
    owner      TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
INSERT INTO "past" VALUES('00000000-0000-0000-0000-000000000003',7,4070908800,'spiffe://planet-lab/user/alice@example.org');
CREATE TABLE power (           -- what was ordered last of a sliver, and why it does not run (`nodemgr/power.py`)
    slice_id   TEXT PRIMARY KEY,
    ordered_at INTEGER NOT NULL,   -- microseconds; 0: never
    since      INTEGER,
    reason     TEXT NOT NULL       -- '' when its owner had it stopped
) STRICT, WITHOUT ROWID;
INSERT INTO "power" VALUES('00000000-0000-0000-0000-000000000001',1577836800000000,NULL,'');
CREATE TABLE removal (
    slice    TEXT NOT NULL,
    slice_id TEXT NOT NULL,
    needs    TEXT NOT NULL DEFAULT '{}' CHECK (needs GLOB '{*}'),  -- what it has until it is removed
    PRIMARY KEY (slice, slice_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "removal" VALUES('beta','00000000-0000-0000-0000-000000000002','{}');
CREATE TABLE stopped (owner TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE INDEX burnt_owner ON burnt (owner, agent);
COMMIT;
PRAGMA user_version = 8;
