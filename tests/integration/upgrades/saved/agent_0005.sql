CREATE TABLE agent.ad (
    node text NOT NULL,
    address text NOT NULL,
    api text NOT NULL,
    site text NOT NULL,
    slots integer NOT NULL,
    slots_free integer NOT NULL,
    memory_free_mb integer NOT NULL,
    max_leaselen integer NOT NULL,
    frontdoor_port integer NOT NULL,
    host_key text NOT NULL,
    simulated boolean NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    disk_free_mb integer,
    memory_mb integer,
    disk_mb integer,
    sliver_mb integer,
    most_processes integer,
    disk_unpromised_mb integer,
    images jsonb,
    quota text,
    slivers integer,
    version text,
    driver text,
    CONSTRAINT ck_ad_leaselen CHECK ((max_leaselen > 0)),
    CONSTRAINT ck_ad_port CHECK (((frontdoor_port >= 1) AND (frontdoor_port <= 65535))),
    CONSTRAINT ck_ad_slots CHECK (((slots_free >= 0) AND (slots_free <= slots)))
);
CREATE TABLE agent.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE agent.drain (
    node text NOT NULL,
    reason text NOT NULL,
    until timestamp with time zone
);
CREATE TABLE agent.registration (
    slice_id uuid NOT NULL,
    slice text NOT NULL,
    owner text NOT NULL,
    registered_at timestamp with time zone NOT NULL
);
CREATE TABLE agent.request (
    id bigint NOT NULL,
    caller text NOT NULL,
    owner text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    response jsonb,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_request_digest CHECK ((octet_length(digest) = 32))
);
ALTER TABLE agent.request ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME agent.request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE agent.ticket (
    jti text NOT NULL,
    request_id bigint,
    "position" integer NOT NULL,
    node text NOT NULL,
    owner text NOT NULL,
    slice text NOT NULL,
    slice_id uuid,
    leaselen integer NOT NULL,
    state text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    needs jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT ck_ticket_leaselen CHECK ((leaselen > 0)),
    CONSTRAINT ck_ticket_life CHECK ((expires_at > made_at)),
    CONSTRAINT ck_ticket_registered CHECK (((state = 'reserved'::text) OR (slice_id IS NOT NULL))),
    CONSTRAINT ck_ticket_state CHECK ((state = ANY (ARRAY['reserved'::text, 'issued'::text, 'returned'::text])))
);
INSERT INTO agent.ad VALUES ('n1', '192.0.2.1', 'https://192.0.2.1:7446', 'Lab', 16, 15, 4096, 1209600, 22, 'ssh-ed25519 AAAA', false, '2099-01-01 00:00:00+00', 1024, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agent.alembic_version VALUES ('agent_0005');
INSERT INTO agent.drain VALUES ('n2', 'new disk', NULL);
INSERT INTO agent.registration VALUES ('00000000-0000-0000-0000-000000000001', 'alpha', 'spiffe://planet-lab/user/alice@example.org', '2020-01-01 00:00:00+00');
INSERT INTO agent.request OVERRIDING SYSTEM VALUE VALUES (1, 'spiffe://planet-lab/svm/svm', 'spiffe://planet-lab/user/alice@example.org', 'POST /tickets', 'a key', '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '{"tickets": []}', '2020-01-01 00:00:00+00');
INSERT INTO agent.ticket VALUES ('jti-2', 1, 2, 'n1', 'spiffe://planet-lab/user/alice@example.org', 'alpha', '00000000-0000-0000-0000-000000000001', 3600, 'returned', '2020-01-01 00:00:00+00', '2099-01-01 00:00:00+00', '{}');
INSERT INTO agent.ticket VALUES ('jti-1', 1, 1, 'n1', 'spiffe://planet-lab/user/alice@example.org', 'alpha', '00000000-0000-0000-0000-000000000001', 3600, 'issued', '2020-01-01 00:00:00+00', '2099-01-01 00:00:00+00', '{"memory_mb": 512}');
SELECT pg_catalog.setval('agent.request_id_seq', 1, true);
ALTER TABLE ONLY agent.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY agent.ad
    ADD CONSTRAINT pk_ad PRIMARY KEY (node);
ALTER TABLE ONLY agent.drain
    ADD CONSTRAINT pk_drain PRIMARY KEY (node);
ALTER TABLE ONLY agent.registration
    ADD CONSTRAINT pk_registration PRIMARY KEY (slice_id);
ALTER TABLE ONLY agent.request
    ADD CONSTRAINT pk_request PRIMARY KEY (id);
ALTER TABLE ONLY agent.ticket
    ADD CONSTRAINT pk_ticket PRIMARY KEY (jti);
ALTER TABLE ONLY agent.ad
    ADD CONSTRAINT uq_ad_address UNIQUE (address);
ALTER TABLE ONLY agent.request
    ADD CONSTRAINT uq_request_caller_owner_route_key UNIQUE (caller, owner, route, key);
CREATE INDEX ix_request_made_at ON agent.request USING btree (made_at);
CREATE INDEX ix_request_owner ON agent.request USING btree (owner, made_at);
CREATE INDEX ix_ticket_expires_at ON agent.ticket USING btree (expires_at);
CREATE INDEX ix_ticket_node ON agent.ticket USING btree (node, expires_at);
CREATE INDEX ix_ticket_owner ON agent.ticket USING btree (owner, expires_at);
CREATE INDEX ix_ticket_request_id ON agent.ticket USING btree (request_id);
CREATE INDEX ix_ticket_returned ON agent.ticket USING btree (node) WHERE (state = 'returned'::text);
ALTER TABLE ONLY agent.ticket
    ADD CONSTRAINT fk_ticket_request_id_request FOREIGN KEY (request_id) REFERENCES agent.request(id) ON DELETE SET NULL;
