-- What stands in the tables of each version. `-- 4` begins what is there from revision 4 on, `-- 4 7` up to 7.

-- 1
INSERT INTO agent.ad (node, address, api, site, slots, slots_free, memory_free_mb, max_leaselen,
    frontdoor_port, host_key, simulated, expires_at)
VALUES ('n1', '192.0.2.1', 'https://192.0.2.1:7446', 'Lab', 16, 15, 4096, 1209600, 22, 'ssh-ed25519 AAAA',
    false, '2099-01-01');
INSERT INTO agent.registration (slice_id, slice, owner, registered_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'alpha', 'spiffe://planet-lab/user/alice@example.org', '2020-01-01');
INSERT INTO agent.request (caller, owner, route, key, digest, response, made_at)
VALUES ('spiffe://planet-lab/svm/svm', 'spiffe://planet-lab/user/alice@example.org', 'POST /tickets', 'a key', sha256(''),
    '{"tickets": []}', '2020-01-01');
INSERT INTO agent.ticket (jti, request_id, position, node, owner, slice, slice_id, leaselen, state, made_at,
    expires_at)
VALUES ('jti-1', 1, 1, 'n1', 'spiffe://planet-lab/user/alice@example.org', 'alpha',
    '00000000-0000-0000-0000-000000000001', 3600, 'issued', '2020-01-01', '2099-01-01'),
    ('jti-2', 1, 2, 'n1', 'spiffe://planet-lab/user/alice@example.org', 'alpha',
        '00000000-0000-0000-0000-000000000001', 3600, 'returned', '2020-01-01', '2099-01-01');
-- 1 1
INSERT INTO agent.ticket (jti, position, node, owner, slice, slice_id, leaselen, state, made_at, expires_at) VALUES
    ('jti-3', 3, 'n1', 'spiffe://planet-lab/user/alice@example.org', 'alpha', '00000000-0000-0000-0000-000000000001',
    3600, 'burnt', '2020-01-01', '2099-01-01');
-- 3
UPDATE agent.ad SET disk_free_mb = 1024;
-- 4
UPDATE agent.ticket SET needs = '{"memory_mb": 512}' WHERE jti = 'jti-1';
-- 5
INSERT INTO agent.drain (node, reason) VALUES ('n2', 'new disk');
