"""Accounts, certificates, services, slice names, the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "plc_0001"
down_revision = None
branch_labels = None
depends_on = None

# An e-mail is never given to somebody else, whatever program tries.
KEEP_ACCOUNTS = """
CREATE FUNCTION plc.keep_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'accounts are never deleted, nor their e-mails changed: disable the account instead';
END $$;
CREATE TRIGGER keep_account BEFORE DELETE ON plc.account FOR EACH ROW EXECUTE FUNCTION plc.keep_account();
CREATE TRIGGER keep_email BEFORE UPDATE ON plc.account FOR EACH ROW
    WHEN (OLD.email IS DISTINCT FROM NEW.email) EXECUTE FUNCTION plc.keep_account();
"""


def upgrade() -> None:
    _certificate()
    _enrolment_token()
    _event()
    _letter()
    _revocation_list()
    _service()
    _site()
    _throttle()
    _account()
    _certificate_request()
    _slice_name()
    _ssh_key()
    _slice_agent()


def _certificate() -> None:
    op.create_table(
        "certificate",
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text(), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("pi", sa.Boolean(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("NOT pi OR role = 'user'", name=op.f("ck_certificate_pi_is_user")),
        sa.CheckConstraint("role IN ('user', 'agent', 'node', 'svm', 'plc')", name=op.f("ck_certificate_role")),
        sa.CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name=op.f("ck_certificate_revoked")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_certificate")),
        schema="plc",
    )
    op.create_index(
        "ix_certificate_revoked",
        "certificate",
        ["not_after"],
        unique=False,
        schema="plc",
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_certificate_role_name"), "certificate", ["role", "name"], unique=False, schema="plc")


def _enrolment_token() -> None:
    op.create_table(
        "enrolment_token",
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("addresses", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_key_sha256", sa.Text(), nullable=True),
        sa.CheckConstraint("expires_at <= made_at + interval '1 hour'", name=op.f("ck_enrolment_token_one_hour")),
        sa.CheckConstraint("role IN ('agent', 'node', 'svm')", name=op.f("ck_enrolment_token_role")),
        sa.CheckConstraint("(used_at IS NULL) = (used_key_sha256 IS NULL)", name=op.f("ck_enrolment_token_used_whole")),
        sa.CheckConstraint("cardinality(addresses) > 0", name=op.f("ck_enrolment_token_bound_to_address")),
        sa.PrimaryKeyConstraint("secret_sha256", name=op.f("pk_enrolment_token")),
        schema="plc",
    )


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("whom", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        schema="plc",
    )
    op.create_index(op.f("ix_event_whom"), "event", ["whom"], unique=False, schema="plc")


def _letter() -> None:
    op.create_table(
        "letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("given_up_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("position(chr(10) IN subject) = 0", name=op.f("ck_letter_subject_one_line")),
        sa.CheckConstraint("sent_at IS NULL OR given_up_at IS NULL", name=op.f("ck_letter_one_end")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_letter")),
        schema="plc",
    )
    op.create_index(
        "ix_letter_due",
        "letter",
        ["next_try_at"],
        unique=False,
        schema="plc",
        postgresql_where=sa.text("sent_at IS NULL AND given_up_at IS NULL"),
    )


def _revocation_list() -> None:
    op.create_table(
        "revocation_list",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_revocation_list_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocation_list")),
        schema="plc",
    )


def _service() -> None:
    op.create_table(
        "service",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("addresses", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("announced_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('agent', 'node', 'svm')", name=op.f("ck_service_role")),
        sa.CheckConstraint("(url IS NULL) = (announced_at IS NULL)", name=op.f("ck_service_announced")),
        sa.PrimaryKeyConstraint("role", "name", name=op.f("pk_service")),
        schema="plc",
    )


def _site() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("name <> '' AND name = btrim(name)", name=op.f("ck_site_name_given")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("name", name=op.f("uq_site_name")),
        schema="plc",
    )


def _throttle() -> None:
    op.create_table(
        "throttle",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_throttle_failures")),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_throttle")),
        schema="plc",
    )
    op.create_index(op.f("ix_throttle_last_at"), "throttle", ["last_at"], unique=False, schema="plc")


def _account() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("is_pi", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("city", sa.Text(), server_default="", nullable=False),
        sa.Column("province", sa.Text(), server_default="", nullable=False),
        sa.Column("zip", sa.Text(), server_default="", nullable=False),
        sa.Column("country", sa.Text(), server_default="", nullable=False),
        sa.Column("phone", sa.Text(), server_default="", nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'requested') = (decided_at IS NULL)", name=op.f("ck_account_decided")),
        sa.CheckConstraint("email = lower(email) AND email LIKE '%%_@_%%'", name=op.f("ck_account_email_lower")),
        sa.CheckConstraint("state IN ('requested', 'enabled', 'disabled')", name=op.f("ck_account_state")),
        sa.CheckConstraint("stopped_at IS NULL OR state = 'disabled'", name=op.f("ck_account_stopped_is_disabled")),
        sa.ForeignKeyConstraint(["site_id"], ["plc.site.id"], name=op.f("fk_account_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("email", name=op.f("uq_account_email")),
        schema="plc",
    )
    op.create_index(op.f("ix_account_site_id"), "account", ["site_id"], unique=False, schema="plc")


def _certificate_request() -> None:
    op.create_table(
        "certificate_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("serial", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'denied') = (reason <> '')", name=op.f("ck_certificate_request_denied_has_reason")
        ),
        sa.CheckConstraint(
            "(state = 'issued') = (serial IS NOT NULL)", name=op.f("ck_certificate_request_issued_has_certificate")
        ),
        sa.CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name=op.f("ck_certificate_request_decided")),
        sa.CheckConstraint("state IN ('pending', 'issued', 'denied')", name=op.f("ck_certificate_request_state")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["plc.account.id"], name=op.f("fk_certificate_request_account_id_account")
        ),
        sa.ForeignKeyConstraint(
            ["serial"], ["plc.certificate.serial"], name=op.f("fk_certificate_request_serial_certificate")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate_request")),
        schema="plc",
    )
    op.create_index(
        op.f("ix_certificate_request_account_id_key_sha256"),
        "certificate_request",
        ["account_id", "key_sha256"],
        unique=False,
        schema="plc",
    )
    op.create_index(
        "uq_certificate_request_pending",
        "certificate_request",
        ["account_id"],
        unique=True,
        schema="plc",
        postgresql_where=sa.text("state = 'pending'"),
    )


def _slice_name() -> None:
    op.create_table(
        "slice_name",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("name ~ '^[a-z][a-z0-9_]{1,30}$'", name=op.f("ck_slice_name_name")),
        sa.ForeignKeyConstraint(["account_id"], ["plc.account.id"], name=op.f("fk_slice_name_account_id_account")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_slice_name")),
        sa.UniqueConstraint("slice_id", name=op.f("uq_slice_name_slice_id")),
        schema="plc",
    )
    op.create_index(op.f("ix_slice_name_account_id"), "slice_name", ["account_id"], unique=False, schema="plc")


def _ssh_key() -> None:
    op.create_table(
        "ssh_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("position(chr(10) IN line) = 0", name=op.f("ck_ssh_key_one_line")),
        sa.ForeignKeyConstraint(["account_id"], ["plc.account.id"], name=op.f("fk_ssh_key_account_id_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ssh_key")),
        sa.UniqueConstraint("account_id", "fingerprint", name=op.f("uq_ssh_key_account_id_fingerprint")),
        schema="plc",
    )


def _slice_agent() -> None:
    op.create_table(
        "slice_agent",
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["slice_id"],
            ["plc.slice_name.slice_id"],
            name=op.f("fk_slice_agent_slice_id_slice_name"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("slice_id", "agent", name=op.f("pk_slice_agent")),
        schema="plc",
    )
    op.execute(KEEP_ACCOUNTS)


def downgrade() -> None:
    op.drop_table("slice_agent", schema="plc")
    op.drop_table("ssh_key", schema="plc")
    op.drop_index(op.f("ix_slice_name_account_id"), table_name="slice_name", schema="plc")
    op.drop_table("slice_name", schema="plc")
    op.drop_index(
        "uq_certificate_request_pending",
        table_name="certificate_request",
        schema="plc",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.drop_index(op.f("ix_certificate_request_account_id_key_sha256"), table_name="certificate_request", schema="plc")
    op.drop_table("certificate_request", schema="plc")
    op.drop_index(op.f("ix_account_site_id"), table_name="account", schema="plc")
    op.drop_table("account", schema="plc")
    op.drop_index(op.f("ix_throttle_last_at"), table_name="throttle", schema="plc")
    op.drop_table("throttle", schema="plc")
    op.drop_table("site", schema="plc")
    op.drop_table("service", schema="plc")
    op.drop_table("revocation_list", schema="plc")
    op.drop_index(
        "ix_letter_due",
        table_name="letter",
        schema="plc",
        postgresql_where=sa.text("sent_at IS NULL AND given_up_at IS NULL"),
    )
    op.drop_table("letter", schema="plc")
    op.drop_index(op.f("ix_event_whom"), table_name="event", schema="plc")
    op.drop_table("event", schema="plc")
    op.drop_table("enrolment_token", schema="plc")
    op.drop_index(op.f("ix_certificate_role_name"), table_name="certificate", schema="plc")
    op.drop_index(
        "ix_certificate_revoked",
        table_name="certificate",
        schema="plc",
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )
    op.drop_table("certificate", schema="plc")
    op.execute("DROP FUNCTION plc.keep_account()")
