#!/bin/sh
# First start of the lab's PostgreSQL: one role a service, each owning the schema of its name and nothing else.
# The official image runs this once; run by hand it changes nothing that is there but the passwords.
set -eu
: "${PLC_DB_PASSWORD:?}" "${AGENT_DB_PASSWORD:?}" "${SVM_DB_PASSWORD:?}"

psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-dslice}" \
    -v plc="$PLC_DB_PASSWORD" -v agent="$AGENT_DB_PASSWORD" -v svm="$SVM_DB_PASSWORD" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['plc', 'agent', 'svm']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE plc PASSWORD :'plc';
ALTER ROLE agent PASSWORD :'agent';
ALTER ROLE svm PASSWORD :'svm';
CREATE SCHEMA IF NOT EXISTS plc AUTHORIZATION plc;
CREATE SCHEMA IF NOT EXISTS agent AUTHORIZATION agent;
CREATE SCHEMA IF NOT EXISTS svm AUTHORIZATION svm;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SQL
