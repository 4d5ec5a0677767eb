CREATE FUNCTION svm.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'events are only added' USING ERRCODE = 'check_violation', CONSTRAINT = 'append_only';
    END IF;
    RETURN OLD;
END $$;
CREATE FUNCTION svm.refuse_older_generation() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'generation of % on % would fall from % to %', OLD.slice, OLD.node, OLD.generation, NEW.generation
        USING ERRCODE = 'check_violation', CONSTRAINT = 'generation_never_falls';
END $$;
CREATE TABLE svm.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE svm.delivery (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    slice uuid NOT NULL,
    hook uuid,
    about text NOT NULL,
    body jsonb NOT NULL,
    events integer DEFAULT 1 NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    next_try_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    sent_at timestamp with time zone,
    given_up_at timestamp with time zone,
    status integer,
    last_error text,
    CONSTRAINT ck_delivery_attempts_counts CHECK ((attempts >= 0))
);
CREATE TABLE svm.event (
    operation uuid NOT NULL,
    seq integer NOT NULL,
    slice uuid,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    type text NOT NULL,
    node text,
    kind text,
    before text,
    after text,
    ok boolean,
    code text,
    reason text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);
CREATE TABLE svm.finding (
    node text NOT NULL,
    slice_name text NOT NULL,
    what text NOT NULL,
    slice_id uuid,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE svm.hook (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    slice uuid NOT NULL,
    url text NOT NULL,
    states text[] NOT NULL,
    sealed_secret bytea NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_hook_states_known CHECK (((states <@ ARRAY['ending'::text, 'ended'::text, 'failed'::text, 'healed'::text]) AND (cardinality(states) > 0)))
);
CREATE TABLE svm.node (
    node text NOT NULL,
    node_name text NOT NULL,
    api text NOT NULL,
    seen_at timestamp with time zone,
    silent_since timestamp with time zone,
    error_code text,
    last_error text,
    leaving text
);
CREATE TABLE svm.notice (
    slice uuid NOT NULL,
    about text NOT NULL,
    deadline timestamp with time zone NOT NULL,
    days integer NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone,
    operation uuid
);
CREATE TABLE svm.operation (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    slice uuid,
    slice_name text DEFAULT ''::text NOT NULL,
    verb text NOT NULL,
    queue text NOT NULL,
    owner text NOT NULL,
    actor text NOT NULL,
    parallelism integer NOT NULL,
    connect_timeout integer NOT NULL,
    batch integer NOT NULL,
    options jsonb DEFAULT '{}'::jsonb NOT NULL,
    idempotency_key text,
    open_steps integer DEFAULT 0 NOT NULL,
    in_flight integer DEFAULT 0 NOT NULL,
    seq integer DEFAULT 0 NOT NULL,
    ok integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    outcome text,
    code text,
    reason text,
    cancelled_at timestamp with time zone,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT ck_operation_batch_range CHECK (((batch >= 1) AND (batch <= 64))),
    CONSTRAINT ck_operation_ended_empty CHECK (((ended_at IS NULL) OR (open_steps = 0))),
    CONSTRAINT ck_operation_ended_whole CHECK (((outcome IS NULL) = (ended_at IS NULL))),
    CONSTRAINT ck_operation_outcome_known CHECK ((outcome = ANY (ARRAY['done'::text, 'partial'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT ck_operation_queue_known CHECK ((queue = ANY (ARRAY['interactive'::text, 'renewals'::text, 'housekeeping'::text]))),
    CONSTRAINT ck_operation_verb_known CHECK ((verb = ANY (ARRAY['createslice'::text, 'newtickets'::text, 'newleases'::text, 'newvms'::text, 'addkey'::text, 'delkey'::text, 'nukekeys'::text, 'rekey'::text, 'renewslice'::text, 'deleteslice'::text, 'clean'::text, 'start'::text, 'stop'::text, 'restart'::text, 'reset'::text, 'shrink'::text, 'autorenew'::text, 'heal'::text, 'delegate'::text, 'undelegate'::text, 'replace'::text, 'reconcile'::text, 'release'::text, 'canary'::text]))),
    CONSTRAINT ck_operation_window_within CHECK ((in_flight <= open_steps))
);
CREATE TABLE svm.slice (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    slice_id uuid,
    name text NOT NULL,
    owner text NOT NULL,
    numnodes integer NOT NULL,
    leaselen integer NOT NULL,
    ips text[] DEFAULT '{}'::text[] NOT NULL,
    agents text[] DEFAULT '{}'::text[] NOT NULL,
    public_key text,
    sealed_key bytea,
    working text,
    working_until timestamp with time zone,
    standing text,
    standing_until timestamp with time zone,
    standing_heals boolean DEFAULT false NOT NULL,
    refused_before timestamp with time zone,
    autorenew boolean DEFAULT false NOT NULL,
    autorenew_until timestamp with time zone,
    heal boolean DEFAULT false NOT NULL,
    key_generation integer DEFAULT 0 NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    held_until timestamp with time zone,
    released_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    pair_generation integer DEFAULT 0 NOT NULL,
    pair_wanted integer DEFAULT 0 NOT NULL,
    leaselen_changed boolean DEFAULT false NOT NULL,
    needs jsonb DEFAULT '{}'::jsonb NOT NULL,
    by_link text,
    by_link_until timestamp with time zone,
    CONSTRAINT ck_slice_key_pair_whole CHECK (((public_key IS NULL) = (sealed_key IS NULL))),
    CONSTRAINT ck_slice_no_key_kept CHECK (((state <> 'deleted'::text) OR (sealed_key IS NULL))),
    CONSTRAINT ck_slice_pair_generation_counts CHECK ((pair_generation >= 0)),
    CONSTRAINT ck_slice_pair_wanted_counts CHECK ((pair_wanted >= 0)),
    CONSTRAINT ck_slice_state_known CHECK ((state = ANY (ARRAY['open'::text, 'deleting'::text, 'deleted'::text])))
);
CREATE TABLE svm.slice_key (
    slice uuid NOT NULL,
    fingerprint text NOT NULL,
    line text NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE svm.sliver (
    slice uuid NOT NULL,
    node text NOT NULL,
    "position" integer NOT NULL,
    node_name text NOT NULL,
    api text NOT NULL,
    agent text NOT NULL,
    frontdoor_address text NOT NULL,
    frontdoor_port integer NOT NULL,
    host_key text NOT NULL,
    state text NOT NULL,
    ticket text,
    jti text,
    redeemed_at timestamp with time zone,
    lease text,
    generation integer DEFAULT 0 NOT NULL,
    expires_at timestamp with time zone,
    renew_at timestamp with time zone,
    key_generation integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    error_code text,
    last_error text,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    pair_generation integer DEFAULT 0 NOT NULL,
    died_at timestamp with time zone,
    heard_at timestamp with time zone,
    replaces text,
    CONSTRAINT ck_sliver_deleted_empty CHECK (((state <> 'deleted'::text) OR ((ticket IS NULL) AND (lease IS NULL)))),
    CONSTRAINT ck_sliver_leased_whole CHECK (((state <> ALL (ARRAY['leased'::text, 'running'::text, 'stopped'::text])) OR ((lease IS NOT NULL) AND (expires_at IS NOT NULL) AND (generation > 0)))),
    CONSTRAINT ck_sliver_pair_generation_counts CHECK ((pair_generation >= 0)),
    CONSTRAINT ck_sliver_state_known CHECK ((state = ANY (ARRAY['ticketed'::text, 'leased'::text, 'running'::text, 'stopped'::text, 'expired'::text, 'deleting'::text, 'deleted'::text]))),
    CONSTRAINT ck_sliver_ticketed_whole CHECK (((state <> 'ticketed'::text) OR ((ticket IS NOT NULL) AND (expires_at IS NOT NULL))))
);
CREATE TABLE svm.step (
    id bigint NOT NULL,
    operation uuid NOT NULL,
    slice uuid,
    node text,
    kind text NOT NULL,
    state text DEFAULT 'held'::text NOT NULL,
    claim_token uuid,
    claim_until timestamp with time zone,
    published_at timestamp with time zone,
    publishes integer DEFAULT 0 NOT NULL,
    next_run_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    error_code text,
    error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    claim_worker integer,
    CONSTRAINT ck_step_claim_whole CHECK (((claim_token IS NULL) = (claim_until IS NULL))),
    CONSTRAINT ck_step_ended_whole CHECK (((state = ANY (ARRAY['done'::text, 'failed'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT ck_step_kind_known CHECK ((kind = ANY (ARRAY['newtickets'::text, 'newleases'::text, 'newvms'::text, 'addkey'::text, 'delkey'::text, 'nukekeys'::text, 'rekey'::text, 'start'::text, 'stop'::text, 'restart'::text, 'reset'::text, 'renew'::text, 'delete'::text, 'release'::text, 'replace'::text, 'reconcile'::text, 'canary'::text]))),
    CONSTRAINT ck_step_released_published CHECK (((state <> 'released'::text) OR (published_at IS NOT NULL))),
    CONSTRAINT ck_step_running_claimed CHECK (((state = 'running'::text) = (claim_token IS NOT NULL))),
    CONSTRAINT ck_step_state_known CHECK ((state = ANY (ARRAY['held'::text, 'released'::text, 'running'::text, 'done'::text, 'failed'::text])))
);
ALTER TABLE svm.step ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME svm.step_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE svm.worker (
    id integer NOT NULL,
    entered_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE svm.worker ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME svm.worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
INSERT INTO svm.alembic_version VALUES ('svm_0012');
INSERT INTO svm.delivery VALUES ('ceeeb236-a692-4d61-bb59-148d94fcb4f3', '00000000-0000-0000-0000-000000000001', NULL, 'lease', '{"days": 3, "deadline": "2099-01-01T00:00:00+00:00"}', 1, '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', 0, NULL, NULL, NULL, NULL);
INSERT INTO svm.event VALUES ('00000000-0000-0000-0000-000000000001', 1, '00000000-0000-0000-0000-000000000001', '2020-01-01 00:00:00+00', 'user', 'started', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}');
INSERT INTO svm.event VALUES ('00000000-0000-0000-0000-000000000001', 2, '00000000-0000-0000-0000-000000000001', '2020-01-01 00:00:00+00', 'user', 'node', '192.0.2.1', 'newvms', 'leased', 'running', true, NULL, NULL, '{}');
INSERT INTO svm.finding VALUES ('192.0.2.1', 'lost', 'orphan', '00000000-0000-0000-0000-000000000003', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00');
INSERT INTO svm.hook VALUES ('c6be9bf1-952f-4bce-8151-f452ba3af306', '00000000-0000-0000-0000-000000000001', 'https://example.org/told', '{ended}', '\x78', '2020-01-01 00:00:00+00');
INSERT INTO svm.node VALUES ('192.0.2.1', 'n1', 'https://192.0.2.1:7446', '2020-01-01 00:00:00+00', NULL, NULL, NULL, NULL);
INSERT INTO svm.node VALUES ('192.0.2.2', 'n2', 'https://192.0.2.2:7446', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', 'unreachable', 'no answer', 'disk');
INSERT INTO svm.notice VALUES ('00000000-0000-0000-0000-000000000001', 'lease', '2099-01-01 00:00:00+00', 3, '2020-01-01 00:00:00+00', NULL, NULL);
INSERT INTO svm.operation VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', 'alpha', 'createslice', 'interactive', 'spiffe://planet-lab/user/alice@example.org', 'user', 16, 10, 16, '{}', 'a key', 0, 0, 2, 1, 0, 'done', NULL, NULL, NULL, '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00');
INSERT INTO svm.operation VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000002', 'beta', 'deleteslice', 'interactive', 'spiffe://planet-lab/user/bob@example.org', 'user', 16, 10, 16, '{}', NULL, 1, 0, 1, 0, 0, NULL, NULL, NULL, NULL, '2020-01-01 00:00:00+00', NULL);
INSERT INTO svm.slice VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000002', 'beta', 'spiffe://planet-lab/user/bob@example.org', 1, 1209600, '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, false, NULL, false, 0, 'deleting', NULL, NULL, '2020-01-01 00:00:00+00', NULL, 0, 0, false, '{}', NULL, NULL);
INSERT INTO svm.slice VALUES ('00000000-0000-0000-0000-000000000003', NULL, 'gamma', 'spiffe://planet-lab/user/bob@example.org', 1, 60, '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, false, NULL, false, 0, 'deleted', NULL, NULL, '2020-01-01 00:00:00+00', NULL, 0, 0, false, '{}', NULL, NULL);
INSERT INTO svm.slice VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', 'alpha', 'spiffe://planet-lab/user/alice@example.org', 4, 3600, '{192.0.2.1}', '{agent}', 'ssh-ed25519 AAAA', '\x5ea1', NULL, NULL, 'a delegation', '2099-01-01 00:00:00+00', true, NULL, true, NULL, true, 1, 'open', NULL, NULL, '2020-01-01 00:00:00+00', NULL, 1, 2, false, '{"memory_mb": 512}', NULL, NULL);
INSERT INTO svm.slice_key VALUES ('00000000-0000-0000-0000-000000000001', 'SHA256:one', 'ssh-ed25519 AAAA', '2020-01-01 00:00:00+00');
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000001', '192.0.2.2', 2, 'n2', 'https://192.0.2.2:7446', 'agent', '192.0.2.2', 22, 'ssh-ed25519 AAAA', 'running', NULL, 'jti-2', NULL, 'a lease', 2, '2099-01-01 00:00:00+00', NULL, 1, 0, NULL, NULL, '2020-01-01 00:00:00+00', 0, NULL, NULL, NULL);
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000001', '192.0.2.4', 4, 'n4', 'https://192.0.2.4:7446', 'agent', '192.0.2.4', 22, 'ssh-ed25519 AAAA', 'ticketed', 'a ticket', 'jti-4', NULL, NULL, 0, '2099-01-01 00:00:00+00', NULL, 0, 0, NULL, NULL, '2020-01-01 00:00:00+00', 0, NULL, NULL, NULL);
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000001', '192.0.2.5', 5, 'n5', 'https://192.0.2.5:7446', 'agent', '192.0.2.5', 22, 'ssh-ed25519 AAAA', 'expired', NULL, 'jti-5', NULL, 'a lease', 2, '2020-01-01 00:00:00+00', NULL, 0, 0, NULL, NULL, '2020-01-01 00:00:00+00', 0, NULL, NULL, NULL);
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000001', '192.0.2.6', 6, 'n6', 'https://192.0.2.6:7446', 'agent', '192.0.2.6', 22, 'ssh-ed25519 AAAA', 'deleted', NULL, 'jti-6', NULL, NULL, 0, '2099-01-01 00:00:00+00', NULL, 0, 0, NULL, NULL, '2020-01-01 00:00:00+00', 0, NULL, NULL, NULL);
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000002', '192.0.2.8', 8, 'n8', 'https://192.0.2.8:7446', 'agent', '192.0.2.8', 22, 'ssh-ed25519 AAAA', 'deleting', NULL, 'jti-8', NULL, 'a lease', 2, '2099-01-01 00:00:00+00', NULL, 0, 0, NULL, NULL, '2020-01-01 00:00:00+00', 0, NULL, NULL, NULL);
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000001', '192.0.2.7', 7, 'n7', 'https://192.0.2.7:7446', 'agent', '192.0.2.7', 22, 'ssh-ed25519 AAAA', 'stopped', NULL, 'jti-7', NULL, 'a lease', 2, '2099-01-01 00:00:00+00', NULL, 0, 0, NULL, 'its VM ended', '2020-01-01 00:00:00+00', 0, '2020-01-01 00:00:00+00', NULL, NULL);
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000001', '192.0.2.1', 1, 'n1', 'https://192.0.2.1:7446', 'agent', '192.0.2.1', 22, 'ssh-ed25519 AAAA', 'running', NULL, 'jti-1', NULL, 'a lease', 2, '2099-01-01 00:00:00+00', NULL, 1, 0, NULL, NULL, '2020-01-01 00:00:00+00', 0, NULL, '2020-01-01 00:00:00+00', NULL);
INSERT INTO svm.sliver VALUES ('00000000-0000-0000-0000-000000000001', '192.0.2.3', 3, 'n3', 'https://192.0.2.3:7446', 'agent', '192.0.2.3', 22, 'ssh-ed25519 AAAA', 'leased', NULL, 'jti-3', NULL, 'a lease', 2, '2099-01-01 00:00:00+00', NULL, 0, 0, NULL, NULL, '2020-01-01 00:00:00+00', 0, NULL, NULL, '192.0.2.2');
INSERT INTO svm.step OVERRIDING SYSTEM VALUE VALUES (1, '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', '192.0.2.1', 'newvms', 'done', NULL, NULL, NULL, 0, '2020-01-01 00:00:00+00', 0, 0, NULL, NULL, '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', '2020-01-01 00:00:00+00', NULL);
INSERT INTO svm.step OVERRIDING SYSTEM VALUE VALUES (2, '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000002', '192.0.2.8', 'delete', 'held', NULL, NULL, NULL, 0, '2020-01-01 00:00:00+00', 0, 0, NULL, NULL, '2020-01-01 00:00:00+00', NULL, NULL, NULL);
INSERT INTO svm.worker VALUES (1, '2020-01-01 00:00:00+00');
SELECT pg_catalog.setval('svm.step_id_seq', 2, true);
SELECT pg_catalog.setval('svm.worker_id_seq', 1, true);
ALTER TABLE ONLY svm.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY svm.delivery
    ADD CONSTRAINT pk_delivery PRIMARY KEY (id);
ALTER TABLE ONLY svm.event
    ADD CONSTRAINT pk_event PRIMARY KEY (operation, seq);
ALTER TABLE ONLY svm.finding
    ADD CONSTRAINT pk_finding PRIMARY KEY (node, slice_name, what);
ALTER TABLE ONLY svm.hook
    ADD CONSTRAINT pk_hook PRIMARY KEY (id);
ALTER TABLE ONLY svm.node
    ADD CONSTRAINT pk_node PRIMARY KEY (node);
ALTER TABLE ONLY svm.notice
    ADD CONSTRAINT pk_notice PRIMARY KEY (slice, about, deadline, days);
ALTER TABLE ONLY svm.operation
    ADD CONSTRAINT pk_operation PRIMARY KEY (id);
ALTER TABLE ONLY svm.slice
    ADD CONSTRAINT pk_slice PRIMARY KEY (id);
ALTER TABLE ONLY svm.slice_key
    ADD CONSTRAINT pk_slice_key PRIMARY KEY (slice, fingerprint);
ALTER TABLE ONLY svm.sliver
    ADD CONSTRAINT pk_sliver PRIMARY KEY (slice, node);
ALTER TABLE ONLY svm.step
    ADD CONSTRAINT pk_step PRIMARY KEY (id);
ALTER TABLE ONLY svm.worker
    ADD CONSTRAINT pk_worker PRIMARY KEY (id);
ALTER TABLE ONLY svm.hook
    ADD CONSTRAINT uq_hook_slice_url UNIQUE (slice, url);
ALTER TABLE ONLY svm.step
    ADD CONSTRAINT uq_step_operation_node_kind UNIQUE NULLS NOT DISTINCT (operation, node, kind);
CREATE INDEX ix_delivery_due ON svm.delivery USING btree (next_try_at) WHERE ((sent_at IS NULL) AND (given_up_at IS NULL));
CREATE INDEX ix_delivery_hook ON svm.delivery USING btree (hook, due_at);
CREATE INDEX ix_delivery_made_at ON svm.delivery USING btree (made_at);
CREATE INDEX ix_delivery_slice ON svm.delivery USING btree (slice);
CREATE INDEX ix_event_slice ON svm.event USING btree (slice, at);
CREATE INDEX ix_operation_ended_at ON svm.operation USING btree (ended_at);
CREATE INDEX ix_operation_slice ON svm.operation USING btree (slice, started_at);
CREATE INDEX ix_operation_unended ON svm.operation USING btree (id) WHERE (ended_at IS NULL);
CREATE INDEX ix_slice_owner ON svm.slice USING btree (owner, name);
CREATE INDEX ix_slice_unreleased ON svm.slice USING btree (id) WHERE ((state <> 'open'::text) AND (released_at IS NULL));
CREATE INDEX ix_sliver_expires_at ON svm.sliver USING btree (expires_at) WHERE (state = ANY (ARRAY['ticketed'::text, 'leased'::text, 'running'::text, 'stopped'::text]));
CREATE INDEX ix_sliver_gone ON svm.sliver USING btree (changed_at) WHERE (state = 'deleted'::text);
CREATE INDEX ix_sliver_living ON svm.sliver USING btree (slice) WHERE (state <> 'deleted'::text);
CREATE INDEX ix_sliver_node ON svm.sliver USING btree (node, state);
CREATE INDEX ix_sliver_renew_at ON svm.sliver USING btree (renew_at) WHERE (state = ANY (ARRAY['leased'::text, 'running'::text, 'stopped'::text]));
CREATE INDEX ix_step_held ON svm.step USING btree (operation, id) WHERE (state = 'held'::text);
CREATE INDEX ix_step_released ON svm.step USING btree (published_at) WHERE (state = 'released'::text);
CREATE INDEX ix_step_running ON svm.step USING btree (claim_until) WHERE (state = 'running'::text);
CREATE UNIQUE INDEX uq_delivery_waiting ON svm.delivery USING btree (hook, about) WHERE (attempts = 0);
CREATE UNIQUE INDEX uq_operation_open ON svm.operation USING btree (slice) WHERE ((ended_at IS NULL) AND (verb = ANY (ARRAY['createslice'::text, 'newtickets'::text, 'newleases'::text, 'newvms'::text, 'renewslice'::text, 'deleteslice'::text, 'replace'::text, 'rekey'::text, 'start'::text, 'stop'::text, 'restart'::text, 'reset'::text, 'shrink'::text])));
CREATE UNIQUE INDEX uq_operation_open_alone ON svm.operation USING btree (verb) WHERE ((ended_at IS NULL) AND (slice IS NULL) AND (verb = ANY (ARRAY['reconcile'::text, 'canary'::text])));
CREATE UNIQUE INDEX uq_operation_request ON svm.operation USING btree (owner, verb, idempotency_key) WHERE (idempotency_key IS NOT NULL);
CREATE UNIQUE INDEX uq_slice_open_name ON svm.slice USING btree (name) WHERE (state = 'open'::text);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON svm.event FOR EACH ROW EXECUTE FUNCTION svm.refuse_change();
CREATE TRIGGER generation_never_falls BEFORE UPDATE OF generation ON svm.sliver FOR EACH ROW WHEN ((new.generation < old.generation)) EXECUTE FUNCTION svm.refuse_older_generation();
ALTER TABLE ONLY svm.delivery
    ADD CONSTRAINT fk_delivery_hook_hook FOREIGN KEY (hook) REFERENCES svm.hook(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.delivery
    ADD CONSTRAINT fk_delivery_slice_slice FOREIGN KEY (slice) REFERENCES svm.slice(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.event
    ADD CONSTRAINT fk_event_operation_operation FOREIGN KEY (operation) REFERENCES svm.operation(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.event
    ADD CONSTRAINT fk_event_slice_slice FOREIGN KEY (slice) REFERENCES svm.slice(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.hook
    ADD CONSTRAINT fk_hook_slice_slice FOREIGN KEY (slice) REFERENCES svm.slice(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.notice
    ADD CONSTRAINT fk_notice_slice_slice FOREIGN KEY (slice) REFERENCES svm.slice(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.operation
    ADD CONSTRAINT fk_operation_slice_slice FOREIGN KEY (slice) REFERENCES svm.slice(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.slice_key
    ADD CONSTRAINT fk_slice_key_slice_slice FOREIGN KEY (slice) REFERENCES svm.slice(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.sliver
    ADD CONSTRAINT fk_sliver_slice_slice FOREIGN KEY (slice) REFERENCES svm.slice(id) ON DELETE CASCADE;
ALTER TABLE ONLY svm.step
    ADD CONSTRAINT fk_step_operation_operation FOREIGN KEY (operation) REFERENCES svm.operation(id) ON DELETE CASCADE;
