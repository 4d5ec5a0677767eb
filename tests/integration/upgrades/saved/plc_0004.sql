CREATE FUNCTION plc.keep_account() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'accounts are never deleted, nor their e-mails changed: disable the account instead';
END $$;
CREATE TABLE plc.account (
    id bigint NOT NULL,
    email text NOT NULL,
    site_id bigint NOT NULL,
    name text NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    password_hash text NOT NULL,
    state text NOT NULL,
    is_pi boolean DEFAULT false NOT NULL,
    is_admin boolean DEFAULT false NOT NULL,
    address text DEFAULT ''::text NOT NULL,
    city text DEFAULT ''::text NOT NULL,
    province text DEFAULT ''::text NOT NULL,
    zip text DEFAULT ''::text NOT NULL,
    country text DEFAULT ''::text NOT NULL,
    phone text DEFAULT ''::text NOT NULL,
    url text DEFAULT ''::text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    decided_at timestamp with time zone,
    reason text DEFAULT ''::text NOT NULL,
    stopped_at timestamp with time zone,
    CONSTRAINT ck_account_decided CHECK (((state = 'requested'::text) = (decided_at IS NULL))),
    CONSTRAINT ck_account_email_lower CHECK (((email = lower(email)) AND (email ~~ '%%_@_%%'::text))),
    CONSTRAINT ck_account_state CHECK ((state = ANY (ARRAY['requested'::text, 'enabled'::text, 'disabled'::text]))),
    CONSTRAINT ck_account_stopped_is_disabled CHECK (((stopped_at IS NULL) OR (state = 'disabled'::text)))
);
ALTER TABLE plc.account ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME plc.account_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE plc.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE plc.certificate (
    serial text NOT NULL,
    role text NOT NULL,
    name text NOT NULL,
    key_sha256 text NOT NULL,
    pem text NOT NULL,
    pi boolean NOT NULL,
    issued_at timestamp with time zone NOT NULL,
    not_after timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    revoked_reason text,
    admin boolean DEFAULT false NOT NULL,
    CONSTRAINT ck_certificate_admin_is_user CHECK (((NOT admin) OR (role = 'user'::text))),
    CONSTRAINT ck_certificate_pi_is_user CHECK (((NOT pi) OR (role = 'user'::text))),
    CONSTRAINT ck_certificate_revoked CHECK (((revoked_at IS NULL) = (revoked_reason IS NULL))),
    CONSTRAINT ck_certificate_role CHECK ((role = ANY (ARRAY['user'::text, 'agent'::text, 'node'::text, 'svm'::text, 'plc'::text])))
);
CREATE TABLE plc.certificate_request (
    id uuid NOT NULL,
    account_id bigint NOT NULL,
    public_key text NOT NULL,
    key_sha256 text NOT NULL,
    state text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    decided_at timestamp with time zone,
    reason text DEFAULT ''::text NOT NULL,
    serial text,
    CONSTRAINT ck_certificate_request_decided CHECK (((state = 'pending'::text) = (decided_at IS NULL))),
    CONSTRAINT ck_certificate_request_denied_has_reason CHECK (((state = 'denied'::text) = (reason <> ''::text))),
    CONSTRAINT ck_certificate_request_issued_has_certificate CHECK (((state = 'issued'::text) = (serial IS NOT NULL))),
    CONSTRAINT ck_certificate_request_state CHECK ((state = ANY (ARRAY['pending'::text, 'issued'::text, 'denied'::text])))
);
CREATE TABLE plc.drain (
    node text NOT NULL,
    who text NOT NULL,
    reason text NOT NULL,
    renews boolean NOT NULL,
    since timestamp with time zone NOT NULL,
    until timestamp with time zone,
    replaces boolean DEFAULT false NOT NULL,
    CONSTRAINT ck_drain_ends_later CHECK ((until > since))
);
CREATE TABLE plc.enrolment_token (
    secret_sha256 text NOT NULL,
    role text NOT NULL,
    name text NOT NULL,
    addresses text[] NOT NULL,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    used_key_sha256 text,
    CONSTRAINT ck_enrolment_token_bound_to_address CHECK ((cardinality(addresses) > 0)),
    CONSTRAINT ck_enrolment_token_one_hour CHECK ((expires_at <= (made_at + '01:00:00'::interval))),
    CONSTRAINT ck_enrolment_token_role CHECK ((role = ANY (ARRAY['agent'::text, 'node'::text, 'svm'::text]))),
    CONSTRAINT ck_enrolment_token_used_whole CHECK (((used_at IS NULL) = (used_key_sha256 IS NULL)))
);
CREATE TABLE plc.event (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    who text NOT NULL,
    what text NOT NULL,
    whom text NOT NULL,
    detail text DEFAULT ''::text NOT NULL
);
ALTER TABLE plc.event ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME plc.event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE plc.letter (
    id bigint NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    written_at timestamp with time zone NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    sent_at timestamp with time zone,
    given_up_at timestamp with time zone,
    last_error text,
    CONSTRAINT ck_letter_one_end CHECK (((sent_at IS NULL) OR (given_up_at IS NULL))),
    CONSTRAINT ck_letter_subject_one_line CHECK ((POSITION((chr(10)) IN (subject)) = 0))
);
ALTER TABLE plc.letter ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME plc.letter_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE plc.removal (
    jti text NOT NULL,
    token text NOT NULL,
    signer text NOT NULL,
    who text NOT NULL,
    node text,
    slice text NOT NULL,
    slice_id uuid NOT NULL,
    reason text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    done_at timestamp with time zone,
    CONSTRAINT ck_removal_done_by_one CHECK (((done_at IS NULL) OR (node IS NOT NULL))),
    CONSTRAINT ck_removal_ends_later CHECK ((expires_at > made_at)),
    CONSTRAINT ck_removal_signer CHECK ((signer = ANY (ARRAY['admin'::text, 'plc'::text])))
);
CREATE TABLE plc.revocation_list (
    id integer NOT NULL,
    number bigint NOT NULL,
    signed_at timestamp with time zone NOT NULL,
    pem text NOT NULL,
    stale boolean NOT NULL,
    CONSTRAINT ck_revocation_list_one_row CHECK ((id = 1))
);
CREATE TABLE plc.service (
    role text NOT NULL,
    name text NOT NULL,
    addresses text[] NOT NULL,
    enrolled_at timestamp with time zone NOT NULL,
    url text,
    announced_at timestamp with time zone,
    CONSTRAINT ck_service_announced CHECK (((url IS NULL) = (announced_at IS NULL))),
    CONSTRAINT ck_service_role CHECK ((role = ANY (ARRAY['agent'::text, 'node'::text, 'svm'::text])))
);
CREATE TABLE plc.site (
    id bigint NOT NULL,
    name text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_site_name_given CHECK (((name <> ''::text) AND (name = btrim(name))))
);
ALTER TABLE plc.site ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME plc.site_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE plc.slice_agent (
    slice_id uuid NOT NULL,
    agent text NOT NULL,
    released_at timestamp with time zone
);
CREATE TABLE plc.slice_name (
    name text NOT NULL,
    slice_id uuid NOT NULL,
    account_id bigint NOT NULL,
    registered_at timestamp with time zone NOT NULL,
    released_at timestamp with time zone,
    held_until timestamp with time zone,
    CONSTRAINT ck_slice_name_name CHECK ((name ~ '^[a-z][a-z0-9_]{1,30}$'::text))
);
CREATE TABLE plc.ssh_key (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    fingerprint text NOT NULL,
    line text NOT NULL,
    added_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_ssh_key_one_line CHECK ((POSITION((chr(10)) IN (line)) = 0))
);
ALTER TABLE plc.ssh_key ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME plc.ssh_key_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE plc.throttle (
    subject text NOT NULL,
    failures integer NOT NULL,
    last_at timestamp with time zone NOT NULL,
    blocked_until timestamp with time zone NOT NULL,
    CONSTRAINT ck_throttle_failures CHECK ((failures >= 0))
);
CREATE TABLE plc.usage (
    node text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    slice text NOT NULL,
    slice_id uuid NOT NULL,
    owner text NOT NULL,
    began timestamp with time zone NOT NULL,
    bound timestamp with time zone NOT NULL,
    ended timestamp with time zone,
    told_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_usage_ends_later CHECK ((ended >= began)),
    CONSTRAINT ck_usage_kind CHECK ((kind = ANY (ARRAY['granted'::text, 'used'::text])))
);
INSERT INTO plc.account OVERRIDING SYSTEM VALUE VALUES (1, 'alice@example.org', 1, 'Alice', '', 'x', 'enabled', true, true, '', '', '', '', '', '', '', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', '', NULL);
INSERT INTO plc.account OVERRIDING SYSTEM VALUE VALUES (2, 'bob@example.org', 1, 'Bob', '', 'x', 'requested', false, false, '', '', '', '', '', '', '', '2020-01-01 00:00:00+00', NULL, '', NULL);
INSERT INTO plc.alembic_version VALUES ('plc_0004');
INSERT INTO plc.certificate VALUES ('02', 'node', 'n1', 'y', 'a certificate', false, '2020-01-01 00:00:00+00', '2099-01-01 00:00:00+00', '2020-01-01 00:00:00+00', 'lost', false);
INSERT INTO plc.certificate VALUES ('01', 'user', 'alice@example.org', 'x', 'a certificate', true, '2020-01-01 00:00:00+00', '2099-01-01 00:00:00+00', NULL, NULL, true);
INSERT INTO plc.certificate_request VALUES ('00000000-0000-0000-0000-000000000001', 1, 'a key', 'x', 'issued', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', '', '01');
INSERT INTO plc.drain VALUES ('n1', 'operator', 'disk', true, '2020-01-01 00:00:00+00', NULL, true);
INSERT INTO plc.enrolment_token VALUES ('x', 'node', 'n2', '{192.0.2.2}', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', NULL, NULL);
INSERT INTO plc.event OVERRIDING SYSTEM VALUE VALUES (1, '2020-01-01 00:00:00+00', 'operator', 'make-pi', 'alice@example.org', '');
INSERT INTO plc.letter OVERRIDING SYSTEM VALUE VALUES (1, 'alice@example.org', 'Welcome', 'a letter', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', 0, NULL, NULL, NULL);
INSERT INTO plc.service VALUES ('node', 'n1', '{192.0.2.1}', '2020-01-01 00:00:00+00', NULL, NULL);
INSERT INTO plc.service VALUES ('svm', 'svm', '{192.0.2.9}', '2020-01-01 00:00:00+00', 'https://192.0.2.9:7445', '2020-01-01 00:00:00+00');
INSERT INTO plc.site OVERRIDING SYSTEM VALUE VALUES (1, 'Lab', '2020-01-01 00:00:00+00');
INSERT INTO plc.slice_agent VALUES ('00000000-0000-0000-0000-000000000001', 'agent', NULL);
INSERT INTO plc.slice_name VALUES ('alpha', '00000000-0000-0000-0000-000000000001', 1, '2020-01-01 00:00:00+00', NULL, NULL);
INSERT INTO plc.ssh_key OVERRIDING SYSTEM VALUE VALUES (1, 1, 'SHA256:one', 'ssh-ed25519 AAAA', '2020-01-01 00:00:00+00');
INSERT INTO plc.usage VALUES ('n1', 'one', 'granted', 'alpha', '00000000-0000-0000-0000-000000000001', 'spiffe://planet-lab/user/alice@example.org', '2020-01-01 00:00:00+00', '2099-01-01 00:00:00+00', NULL, '2020-01-01 00:00:00+00');
SELECT pg_catalog.setval('plc.account_id_seq', 2, true);
SELECT pg_catalog.setval('plc.event_id_seq', 1, true);
SELECT pg_catalog.setval('plc.letter_id_seq', 1, true);
SELECT pg_catalog.setval('plc.site_id_seq', 1, true);
SELECT pg_catalog.setval('plc.ssh_key_id_seq', 1, true);
ALTER TABLE ONLY plc.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY plc.account
    ADD CONSTRAINT pk_account PRIMARY KEY (id);
ALTER TABLE ONLY plc.certificate
    ADD CONSTRAINT pk_certificate PRIMARY KEY (serial);
ALTER TABLE ONLY plc.certificate_request
    ADD CONSTRAINT pk_certificate_request PRIMARY KEY (id);
ALTER TABLE ONLY plc.drain
    ADD CONSTRAINT pk_drain PRIMARY KEY (node);
ALTER TABLE ONLY plc.enrolment_token
    ADD CONSTRAINT pk_enrolment_token PRIMARY KEY (secret_sha256);
ALTER TABLE ONLY plc.event
    ADD CONSTRAINT pk_event PRIMARY KEY (id);
ALTER TABLE ONLY plc.letter
    ADD CONSTRAINT pk_letter PRIMARY KEY (id);
ALTER TABLE ONLY plc.removal
    ADD CONSTRAINT pk_removal PRIMARY KEY (jti);
ALTER TABLE ONLY plc.revocation_list
    ADD CONSTRAINT pk_revocation_list PRIMARY KEY (id);
ALTER TABLE ONLY plc.service
    ADD CONSTRAINT pk_service PRIMARY KEY (role, name);
ALTER TABLE ONLY plc.site
    ADD CONSTRAINT pk_site PRIMARY KEY (id);
ALTER TABLE ONLY plc.slice_agent
    ADD CONSTRAINT pk_slice_agent PRIMARY KEY (slice_id, agent);
ALTER TABLE ONLY plc.slice_name
    ADD CONSTRAINT pk_slice_name PRIMARY KEY (name);
ALTER TABLE ONLY plc.ssh_key
    ADD CONSTRAINT pk_ssh_key PRIMARY KEY (id);
ALTER TABLE ONLY plc.throttle
    ADD CONSTRAINT pk_throttle PRIMARY KEY (subject);
ALTER TABLE ONLY plc.usage
    ADD CONSTRAINT pk_usage PRIMARY KEY (node, id);
ALTER TABLE ONLY plc.account
    ADD CONSTRAINT uq_account_email UNIQUE (email);
ALTER TABLE ONLY plc.site
    ADD CONSTRAINT uq_site_name UNIQUE (name);
ALTER TABLE ONLY plc.slice_name
    ADD CONSTRAINT uq_slice_name_slice_id UNIQUE (slice_id);
ALTER TABLE ONLY plc.ssh_key
    ADD CONSTRAINT uq_ssh_key_account_id_fingerprint UNIQUE (account_id, fingerprint);
CREATE INDEX ix_account_requested ON plc.account USING btree (site_id, asked_at) WHERE (state = 'requested'::text);
CREATE INDEX ix_account_site_id ON plc.account USING btree (site_id);
CREATE INDEX ix_certificate_not_after ON plc.certificate USING btree (not_after);
CREATE INDEX ix_certificate_request_account_id_key_sha256 ON plc.certificate_request USING btree (account_id, key_sha256);
CREATE INDEX ix_certificate_request_decided_at ON plc.certificate_request USING btree (decided_at);
CREATE INDEX ix_certificate_request_serial ON plc.certificate_request USING btree (serial);
CREATE INDEX ix_certificate_revoked ON plc.certificate USING btree (not_after) WHERE (revoked_at IS NOT NULL);
CREATE INDEX ix_certificate_role_name ON plc.certificate USING btree (role, name);
CREATE INDEX ix_event_at ON plc.event USING btree (at);
CREATE INDEX ix_event_who_at ON plc.event USING btree (who, at);
CREATE INDEX ix_event_whom ON plc.event USING btree (whom);
CREATE INDEX ix_letter_due ON plc.letter USING btree (next_try_at) WHERE ((sent_at IS NULL) AND (given_up_at IS NULL));
CREATE INDEX ix_letter_recipient_written_at ON plc.letter USING btree (recipient, written_at);
CREATE INDEX ix_letter_written_at ON plc.letter USING btree (written_at);
CREATE INDEX ix_removal_expires_at ON plc.removal USING btree (expires_at);
CREATE INDEX ix_slice_name_account_id ON plc.slice_name USING btree (account_id);
CREATE INDEX ix_slice_name_released_at ON plc.slice_name USING btree (released_at);
CREATE INDEX ix_throttle_last_at ON plc.throttle USING btree (last_at);
CREATE INDEX ix_usage_began ON plc.usage USING btree (began);
CREATE INDEX ix_usage_owner_began ON plc.usage USING btree (owner, began);
CREATE UNIQUE INDEX uq_certificate_request_pending ON plc.certificate_request USING btree (account_id) WHERE (state = 'pending'::text);
CREATE TRIGGER keep_account BEFORE DELETE ON plc.account FOR EACH ROW WHEN ((old.state <> 'requested'::text)) EXECUTE FUNCTION plc.keep_account();
CREATE TRIGGER keep_email BEFORE UPDATE ON plc.account FOR EACH ROW WHEN ((old.email IS DISTINCT FROM new.email)) EXECUTE FUNCTION plc.keep_account();
ALTER TABLE ONLY plc.account
    ADD CONSTRAINT fk_account_site_id_site FOREIGN KEY (site_id) REFERENCES plc.site(id);
ALTER TABLE ONLY plc.certificate_request
    ADD CONSTRAINT fk_certificate_request_account_id_account FOREIGN KEY (account_id) REFERENCES plc.account(id);
ALTER TABLE ONLY plc.certificate_request
    ADD CONSTRAINT fk_certificate_request_serial_certificate FOREIGN KEY (serial) REFERENCES plc.certificate(serial);
ALTER TABLE ONLY plc.slice_agent
    ADD CONSTRAINT fk_slice_agent_slice_id_slice_name FOREIGN KEY (slice_id) REFERENCES plc.slice_name(slice_id) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY plc.slice_name
    ADD CONSTRAINT fk_slice_name_account_id_account FOREIGN KEY (account_id) REFERENCES plc.account(id);
ALTER TABLE ONLY plc.ssh_key
    ADD CONSTRAINT fk_ssh_key_account_id_account FOREIGN KEY (account_id) REFERENCES plc.account(id);
