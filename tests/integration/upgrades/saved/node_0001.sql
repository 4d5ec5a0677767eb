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
    CHECK (state = 'leased' OR slice_key IS NOT NULL),
    FOREIGN KEY (jti, owner) REFERENCES burnt
) STRICT;
INSERT INTO "lease" VALUES('alpha','00000000-0000-0000-0000-000000000001','spiffe://planet-lab/user/alice@example.org','spiffe://planet-lab/svm/svm','jti-1',3600,2,'a lease',4070908800,'running','ssh-ed25519 AAAA',1,'["ssh-ed25519 AAAA"]');
CREATE TABLE node (uri TEXT PRIMARY KEY) STRICT;
INSERT INTO "node" VALUES('spiffe://planet-lab/node/n1');
CREATE TABLE past (
    slice_id   TEXT PRIMARY KEY,
    generation INTEGER NOT NULL CHECK (generation >= 1),
    ended_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "past" VALUES('00000000-0000-0000-0000-000000000003',7,4070908800);
CREATE TABLE removal (
    slice    TEXT NOT NULL,
    slice_id TEXT NOT NULL,
    PRIMARY KEY (slice, slice_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "removal" VALUES('beta','00000000-0000-0000-0000-000000000002');
CREATE TABLE stopped (owner TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
COMMIT;
PRAGMA user_version = 1;
