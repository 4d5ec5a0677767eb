-- What stands in the tables of each version. `-- 4` begins what is there from revision 4 on, `-- 4 7` up to 7.

-- 1
INSERT INTO svm.slice (id, slice_id, name, owner, numnodes, leaselen, ips, agents, public_key, sealed_key,
    standing, standing_until, standing_heals, autorenew, heal, key_generation, state, created_at)
VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', 'alpha',
    'spiffe://planet-lab/user/alice@example.org', 4, 3600, '{192.0.2.1}', '{agent}', 'ssh-ed25519 AAAA',
    '\x5ea1', 'a delegation', '2099-01-01', true, true, true, 1, 'open', '2020-01-01'),
    ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000002', 'beta',
        'spiffe://planet-lab/user/bob@example.org', 1, 1209600, '{}', '{}', NULL, NULL, NULL, NULL, false, false,
        false,
    0, 'deleting', '2020-01-01'),
    ('00000000-0000-0000-0000-000000000003', NULL, 'gamma', 'spiffe://planet-lab/user/bob@example.org', 1, 60, '{}',
        '{}', NULL, NULL, NULL, NULL, false, false, false, 0,
    'deleted', '2020-01-01');
INSERT INTO svm.slice_key (slice, fingerprint, line, added_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'SHA256:one', 'ssh-ed25519 AAAA', '2020-01-01');
INSERT INTO svm.operation (id, slice, slice_name, verb, queue, owner, actor, parallelism, connect_timeout,
    batch, idempotency_key, open_steps, in_flight, seq, ok, failed, outcome, started_at, ended_at)
VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', 'alpha', 'createslice',
    'interactive', 'spiffe://planet-lab/user/alice@example.org', 'user', 16, 10, 16, 'a key', 0, 0,
    2, 1, 0, 'done', '2020-01-01', '2020-01-01'),
    ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000002', 'beta', 'deleteslice',
        'interactive', 'spiffe://planet-lab/user/bob@example.org', 'user', 16, 10, 16, NULL, 1, 0, 1, 0, 0,
    NULL, '2020-01-01', NULL);
INSERT INTO svm.step (operation, slice, node, kind, state, next_run_at, created_at, started_at, ended_at)
VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', '192.0.2.1', 'newvms', 'done',
    '2020-01-01', '2020-01-01', '2020-01-01', '2020-01-01'),
    ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000002', '192.0.2.8', 'delete', 'held',
        '2020-01-01', '2020-01-01', NULL, NULL);
INSERT INTO svm.event (operation, seq, slice, at, actor, type, node, kind, before, after, ok)
VALUES ('00000000-0000-0000-0000-000000000001', 1, '00000000-0000-0000-0000-000000000001', '2020-01-01', 'user',
    'started', NULL, NULL, NULL, NULL, NULL),
    ('00000000-0000-0000-0000-000000000001', 2, '00000000-0000-0000-0000-000000000001', '2020-01-01', 'user', 'node',
        '192.0.2.1', 'newvms', 'leased', 'running', true);
INSERT INTO svm.node (node, node_name, api, seen_at, silent_since, error_code, last_error)
VALUES ('192.0.2.1', 'n1', 'https://192.0.2.1:7446', '2020-01-01', NULL, NULL, NULL),
    ('192.0.2.2', 'n2', 'https://192.0.2.2:7446', '2020-01-01', '2020-01-01', 'unreachable', 'no answer');
INSERT INTO svm.finding (node, slice_name, what, slice_id, first_seen_at, seen_at)
VALUES ('192.0.2.1', 'lost', 'orphan', '00000000-0000-0000-0000-000000000003', '2020-01-01', '2020-01-01');
INSERT INTO svm.notice (slice, about, deadline, days, made_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'lease', '2099-01-01', 3, '2020-01-01');
INSERT INTO svm.sliver (slice, node, position, node_name, api, agent, frontdoor_address, frontdoor_port, host_key,
    state, ticket, jti, lease, generation, expires_at, key_generation, changed_at)
VALUES
    ('00000000-0000-0000-0000-000000000001', '192.0.2.1', 1, 'n1', 'https://192.0.2.1:7446', 'agent', '192.0.2.1', 22,
        'ssh-ed25519 AAAA', 'running', NULL, 'jti-1', 'a lease', 2, '2099-01-01', 1, '2020-01-01'),
    ('00000000-0000-0000-0000-000000000001', '192.0.2.2', 2, 'n2', 'https://192.0.2.2:7446', 'agent', '192.0.2.2', 22,
        'ssh-ed25519 AAAA', 'running', NULL, 'jti-2', 'a lease', 2, '2099-01-01', 1, '2020-01-01'),
    ('00000000-0000-0000-0000-000000000001', '192.0.2.3', 3, 'n3', 'https://192.0.2.3:7446', 'agent', '192.0.2.3', 22,
        'ssh-ed25519 AAAA', 'leased', NULL, 'jti-3', 'a lease', 2, '2099-01-01', 0, '2020-01-01'),
    ('00000000-0000-0000-0000-000000000001', '192.0.2.4', 4, 'n4', 'https://192.0.2.4:7446', 'agent', '192.0.2.4', 22,
        'ssh-ed25519 AAAA', 'ticketed', 'a ticket', 'jti-4', NULL, 0, '2099-01-01', 0, '2020-01-01'),
    ('00000000-0000-0000-0000-000000000001', '192.0.2.5', 5, 'n5', 'https://192.0.2.5:7446', 'agent', '192.0.2.5', 22,
        'ssh-ed25519 AAAA', 'expired', NULL, 'jti-5', 'a lease', 2, '2020-01-01', 0, '2020-01-01'),
    ('00000000-0000-0000-0000-000000000001', '192.0.2.6', 6, 'n6', 'https://192.0.2.6:7446', 'agent', '192.0.2.6', 22,
        'ssh-ed25519 AAAA', 'deleted', NULL, 'jti-6', NULL, 0, '2099-01-01', 0, '2020-01-01'),
    ('00000000-0000-0000-0000-000000000001', '192.0.2.7', 7, 'n7', 'https://192.0.2.7:7446', 'agent', '192.0.2.7', 22,
        'ssh-ed25519 AAAA', 'leased', NULL, 'jti-7', 'a lease', 2, '2099-01-01', 0, '2020-01-01'),
    ('00000000-0000-0000-0000-000000000002', '192.0.2.8', 8, 'n8', 'https://192.0.2.8:7446', 'agent', '192.0.2.8', 22,
        'ssh-ed25519 AAAA', 'deleting', NULL, 'jti-8', 'a lease', 2, '2099-01-01', 0, '2020-01-01');
-- 2
UPDATE svm.slice SET pair_generation = 1, pair_wanted = 2 WHERE id = '00000000-0000-0000-0000-000000000001';
-- 4 7
UPDATE svm.sliver SET stopped_at = '2020-01-01', last_error = 'its VM ended' WHERE node = '192.0.2.7';
-- 5
INSERT INTO svm.worker (entered_at) VALUES ('2020-01-01');
-- 8
UPDATE svm.sliver SET died_at = '2020-01-01', state = 'stopped', last_error = 'its VM ended' WHERE node = '192.0.2.7';
-- 9
UPDATE svm.slice SET needs = '{"memory_mb": 512}' WHERE id = '00000000-0000-0000-0000-000000000001';
-- 10
UPDATE svm.sliver SET heard_at = '2020-01-01' WHERE node = '192.0.2.1';
-- 11
UPDATE svm.node SET leaving = 'disk' WHERE node = '192.0.2.2';
UPDATE svm.sliver SET replaces = '192.0.2.2' WHERE node = '192.0.2.3';
-- 12
INSERT INTO svm.hook (slice, url, states, sealed_secret, made_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'https://example.org/told', '{ended}', 'x', '2020-01-01');
INSERT INTO svm.delivery (slice, about, body, made_at, due_at, next_try_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'lease', '{"deadline": "2099-01-01T00:00:00+00:00", "days": 3}',
    '2020-01-01', '2020-01-01', '2020-01-01');
