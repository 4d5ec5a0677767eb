-- What stands in the tables of each version. `-- 4` begins what is there from revision 4 on, `-- 4 7` up to 7.

-- 1
INSERT INTO plc.site (name, made_at) VALUES ('Lab', '2020-01-01');
INSERT INTO plc.account (email, site_id, name, password_hash, state, is_pi, is_admin, asked_at, decided_at)
VALUES ('alice@example.org', 1, 'Alice', 'x', 'enabled', true, true, '2020-01-01', '2020-01-01'),
    ('bob@example.org', 1, 'Bob', 'x', 'requested', false, false, '2020-01-01', NULL);
INSERT INTO plc.ssh_key (account_id, fingerprint, line, added_at)
VALUES (1, 'SHA256:one', 'ssh-ed25519 AAAA', '2020-01-01');
INSERT INTO plc.certificate (serial, role, name, key_sha256, pem, pi, issued_at, not_after, revoked_at,
    revoked_reason)
VALUES ('01', 'user', 'alice@example.org', 'x', 'a certificate', true, '2020-01-01', '2099-01-01', NULL, NULL),
    ('02', 'node', 'n1', 'y', 'a certificate', false, '2020-01-01', '2099-01-01', '2020-01-01', 'lost');
INSERT INTO plc.certificate_request (id, account_id, public_key, key_sha256, state, asked_at, decided_at,
    serial) VALUES ('00000000-0000-0000-0000-000000000001', 1, 'a key', 'x', 'issued', '2020-01-01', '2020-01-01',
        '01');
INSERT INTO plc.service (role, name, addresses, enrolled_at, url, announced_at)
VALUES ('node', 'n1', '{192.0.2.1}', '2020-01-01', NULL, NULL),
    ('svm', 'svm', '{192.0.2.9}', '2020-01-01', 'https://192.0.2.9:7445', '2020-01-01');
INSERT INTO plc.enrolment_token (secret_sha256, role, name, addresses, made_at, expires_at)
VALUES ('x', 'node', 'n2', '{192.0.2.2}', '2020-01-01', '2020-01-01');
INSERT INTO plc.slice_name (name, slice_id, account_id, registered_at) VALUES ('alpha',
    '00000000-0000-0000-0000-000000000001', 1, '2020-01-01');
INSERT INTO plc.slice_agent (slice_id, agent) VALUES ('00000000-0000-0000-0000-000000000001', 'agent');
INSERT INTO plc.letter (recipient, subject, body, written_at, next_try_at)
VALUES ('alice@example.org', 'Welcome', 'a letter', '2020-01-01', '2020-01-01');
INSERT INTO plc.event (at, who, what, whom, detail)
VALUES ('2020-01-01', 'operator', 'make-pi', 'alice@example.org', '');
-- 3
UPDATE plc.certificate SET admin = true WHERE serial = '01';
INSERT INTO plc.drain (node, who, reason, renews, since) VALUES ('n1', 'operator', 'disk', true, '2020-01-01');
INSERT INTO plc.usage (node, id, kind, slice, slice_id, owner, began, bound, told_at)
VALUES ('n1', 'one', 'granted', 'alpha', '00000000-0000-0000-0000-000000000001',
    'spiffe://planet-lab/user/alice@example.org', '2020-01-01', '2099-01-01', '2020-01-01');
-- 4
UPDATE plc.drain SET replaces = true WHERE node = 'n1';
