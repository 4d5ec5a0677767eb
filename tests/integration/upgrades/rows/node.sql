-- What stands in the tables of each version. `-- 4` begins what is there from revision 4 on, `-- 4 7` up to 7.

-- 1
INSERT INTO node VALUES ('spiffe://planet-lab/node/n1');
INSERT INTO burnt VALUES ('jti-1', 'spiffe://planet-lab/user/alice@example.org', 'spiffe://planet-lab/agent/agent',
    '00000000-0000-0000-0000-000000000001', 4070908800),
    ('jti-2', 'spiffe://planet-lab/user/alice@example.org', '', '00000000-0000-0000-0000-000000000002', 4070908800);
INSERT INTO lease (slice, slice_id, owner, via, jti, leaselen, generation, token, expires_at, state,
    slice_key, key_generation, keys)
VALUES ('alpha', '00000000-0000-0000-0000-000000000001', 'spiffe://planet-lab/user/alice@example.org',
    'spiffe://planet-lab/svm/svm', 'jti-1', 3600, 2, 'a lease', 4070908800, 'running',
    'ssh-ed25519 AAAA', 1, '["ssh-ed25519 AAAA"]');
INSERT INTO removal (slice, slice_id) VALUES ('beta', '00000000-0000-0000-0000-000000000002');
INSERT INTO past (slice_id, generation, ended_at) VALUES ('00000000-0000-0000-0000-000000000003', 7, 4070908800);
-- 2
UPDATE lease SET pair_generation = 1;
-- 3
UPDATE past SET owner = 'spiffe://planet-lab/user/alice@example.org';
-- 5
UPDATE lease SET needs = '{"memory_mb": 512}';
-- 7
INSERT INTO power VALUES ('00000000-0000-0000-0000-000000000001', 1577836800000000, NULL, '');
-- 8
INSERT INTO interval VALUES ('one', 'granted', 'alpha', '00000000-0000-0000-0000-000000000001',
    'spiffe://planet-lab/user/alice@example.org', 1577836800, 4070908800, NULL, 1);
