"""Slices, slivers, operations, steps, events."""
# ruff: noqa: E501 - constraints stand on one line each, as PostgreSQL shows them

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "svm_0001"
down_revision = None
branch_labels = None
depends_on = None

# What a lease's number has reached it never loses (I4); history is only added to. Deleting a slice's rows takes
# its events along: then the trigger is called from within another.
TRIGGERS = """
CREATE FUNCTION svm.refuse_older_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'generation of % on % would fall from % to %', OLD.slice, OLD.node, OLD.generation, NEW.generation
        USING ERRCODE = 'check_violation', CONSTRAINT = 'generation_never_falls';
END $$;
CREATE TRIGGER generation_never_falls BEFORE UPDATE OF generation ON svm.sliver
    FOR EACH ROW WHEN (NEW.generation < OLD.generation) EXECUTE FUNCTION svm.refuse_older_generation();

CREATE FUNCTION svm.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'events are only added' USING ERRCODE = 'check_violation', CONSTRAINT = 'append_only';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON svm.event FOR EACH ROW EXECUTE FUNCTION svm.refuse_change();
"""


def upgrade() -> None:
    _finding()
    _node()
    _slice()
    _notice()
    _operation()
    _slice_key()
    _sliver()
    _event()
    _step()
    op.execute(TRIGGERS)


def downgrade() -> None:
    for table in ("step", "event", "sliver", "slice_key", "operation", "notice", "slice", "node", "finding"):
        op.drop_table(table, schema="svm")
    op.execute("DROP FUNCTION svm.refuse_older_generation, svm.refuse_change")


def _finding() -> None:
    op.create_table(
        "finding",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("slice_name", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("slice_id", sa.UUID(), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("node", "slice_name", "what", name=op.f("pk_finding")),
        schema="svm",
    )


def _node() -> None:
    op.create_table(
        "node",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("node_name", sa.Text(), nullable=False),
        sa.Column("api", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("silent_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_node")),
        schema="svm",
    )


def _slice() -> None:
    op.create_table(
        "slice",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("slice_id", sa.UUID(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("numnodes", sa.Integer(), nullable=False),
        sa.Column("leaselen", sa.Integer(), nullable=False),
        sa.Column("ips", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("agents", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("working", sa.Text(), nullable=True),
        sa.Column("working_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("standing", sa.Text(), nullable=True),
        sa.Column("standing_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("standing_heals", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("refused_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("autorenew", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("autorenew_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("key_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state <> 'deleted' OR sealed_key IS NULL", name=op.f("ck_slice_no_key_kept")),
        sa.CheckConstraint("state IN ('open', 'deleting', 'deleted')", name=op.f("ck_slice_state_known")),
        sa.CheckConstraint("(public_key IS NULL) = (sealed_key IS NULL)", name=op.f("ck_slice_key_pair_whole")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slice")),
        schema="svm",
    )
    op.create_index("ix_slice_owner", "slice", ["owner", "name"], unique=False, schema="svm")
    op.create_index(
        "ix_slice_unreleased",
        "slice",
        ["id"],
        unique=False,
        schema="svm",
        postgresql_where=sa.text("state <> 'open' AND released_at IS NULL"),
    )
    op.create_index(
        "uq_slice_open_name", "slice", ["name"], unique=True, schema="svm", postgresql_where=sa.text("state = 'open'")
    )


def _notice() -> None:
    op.create_table(
        "notice",
        sa.Column("slice", sa.UUID(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["slice"], ["svm.slice.id"], name=op.f("fk_notice_slice_slice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("slice", "about", "deadline", "days", name=op.f("pk_notice")),
        schema="svm",
    )


def _operation() -> None:
    op.create_table(
        "operation",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("slice", sa.UUID(), nullable=True),
        sa.Column("slice_name", sa.Text(), server_default="", nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("parallelism", sa.Integer(), nullable=False),
        sa.Column("connect_timeout", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("open_steps", sa.Integer(), server_default="0", nullable=False),
        sa.Column("in_flight", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ok", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('done', 'partial', 'failed', 'cancelled')", name=op.f("ck_operation_outcome_known")
        ),
        sa.CheckConstraint(
            "queue IN ('interactive', 'renewals', 'housekeeping')", name=op.f("ck_operation_queue_known")
        ),
        sa.CheckConstraint(
            "verb IN ('createslice', 'newtickets', 'newleases', 'newvms', 'addkey', 'delkey', 'nukekeys', 'renewslice', 'deleteslice', 'clean', 'autorenew', 'heal', 'delegate', 'undelegate', 'replace', 'reconcile', 'release', 'canary')",
            name=op.f("ck_operation_verb_known"),
        ),
        sa.CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name=op.f("ck_operation_ended_whole")),
        sa.CheckConstraint("ended_at IS NULL OR open_steps = 0", name=op.f("ck_operation_ended_empty")),
        sa.CheckConstraint("in_flight <= open_steps", name=op.f("ck_operation_window_within")),
        sa.ForeignKeyConstraint(["slice"], ["svm.slice.id"], name=op.f("fk_operation_slice_slice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation")),
        schema="svm",
    )
    op.create_index("ix_operation_slice", "operation", ["slice", "started_at"], unique=False, schema="svm")
    op.create_index(
        "ix_operation_unended",
        "operation",
        ["id"],
        unique=False,
        schema="svm",
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "uq_operation_open",
        "operation",
        ["slice"],
        unique=True,
        schema="svm",
        postgresql_where=sa.text(
            "ended_at IS NULL AND verb IN ('createslice', 'newtickets', 'newleases', 'newvms', 'renewslice', 'deleteslice', 'replace')"
        ),
    )
    op.create_index(
        "uq_operation_open_alone",
        "operation",
        ["verb"],
        unique=True,
        schema="svm",
        postgresql_where=sa.text("ended_at IS NULL AND slice IS NULL AND verb IN ('reconcile', 'canary')"),
    )
    op.create_index(
        "uq_operation_request",
        "operation",
        ["owner", "verb", "idempotency_key"],
        unique=True,
        schema="svm",
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def _slice_key() -> None:
    op.create_table(
        "slice_key",
        sa.Column("slice", sa.UUID(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["slice"], ["svm.slice.id"], name=op.f("fk_slice_key_slice_slice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("slice", "fingerprint", name=op.f("pk_slice_key")),
        schema="svm",
    )


def _sliver() -> None:
    op.create_table(
        "sliver",
        sa.Column("slice", sa.UUID(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("node_name", sa.Text(), nullable=False),
        sa.Column("api", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("frontdoor_address", sa.Text(), nullable=False),
        sa.Column("frontdoor_port", sa.Integer(), nullable=False),
        sa.Column("host_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=True),
        sa.Column("jti", sa.Text(), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renew_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "state <> 'deleted' OR (ticket IS NULL AND lease IS NULL)", name=op.f("ck_sliver_deleted_empty")
        ),
        sa.CheckConstraint(
            "state <> 'ticketed' OR (ticket IS NOT NULL AND expires_at IS NOT NULL)",
            name=op.f("ck_sliver_ticketed_whole"),
        ),
        sa.CheckConstraint(
            "state IN ('ticketed', 'leased', 'running', 'expired', 'deleting', 'deleted')",
            name=op.f("ck_sliver_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('leased', 'running') OR (lease IS NOT NULL AND expires_at IS NOT NULL AND generation > 0)",
            name=op.f("ck_sliver_leased_whole"),
        ),
        sa.ForeignKeyConstraint(["slice"], ["svm.slice.id"], name=op.f("fk_sliver_slice_slice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("slice", "node", name=op.f("pk_sliver")),
        schema="svm",
    )
    op.create_index(
        "ix_sliver_expires_at",
        "sliver",
        ["expires_at"],
        unique=False,
        schema="svm",
        postgresql_where=sa.text("state IN ('ticketed', 'leased', 'running')"),
    )
    op.create_index("ix_sliver_node", "sliver", ["node", "state"], unique=False, schema="svm")
    op.create_index(
        "ix_sliver_renew_at",
        "sliver",
        ["renew_at"],
        unique=False,
        schema="svm",
        postgresql_where=sa.text("state IN ('leased', 'running')"),
    )


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("operation", sa.UUID(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("slice", sa.UUID(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("ok", sa.Boolean(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(
            ["operation"], ["svm.operation.id"], name=op.f("fk_event_operation_operation"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["slice"], ["svm.slice.id"], name=op.f("fk_event_slice_slice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("operation", "seq", name=op.f("pk_event")),
        schema="svm",
    )
    op.create_index("ix_event_slice", "event", ["slice", "at"], unique=False, schema="svm")


def _step() -> None:
    op.create_table(
        "step",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("operation", sa.UUID(), nullable=False),
        sa.Column("slice", sa.UUID(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="held", nullable=False),
        sa.Column("claim_token", sa.UUID(), nullable=True),
        sa.Column("claim_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("publishes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'running') = (claim_token IS NOT NULL)", name=op.f("ck_step_running_claimed")),
        sa.CheckConstraint("(state IN ('done', 'failed')) = (ended_at IS NOT NULL)", name=op.f("ck_step_ended_whole")),
        sa.CheckConstraint(
            "kind IN ('newtickets', 'newleases', 'newvms', 'addkey', 'delkey', 'nukekeys', 'renew', 'delete', 'release', 'replace', 'reconcile', 'canary')",
            name=op.f("ck_step_kind_known"),
        ),
        sa.CheckConstraint("state <> 'released' OR published_at IS NOT NULL", name=op.f("ck_step_released_published")),
        sa.CheckConstraint(
            "state IN ('held', 'released', 'running', 'done', 'failed')", name=op.f("ck_step_state_known")
        ),
        sa.CheckConstraint("(claim_token IS NULL) = (claim_until IS NULL)", name=op.f("ck_step_claim_whole")),
        sa.ForeignKeyConstraint(
            ["operation"], ["svm.operation.id"], name=op.f("fk_step_operation_operation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step")),
        sa.UniqueConstraint(
            "operation", "node", "kind", name=op.f("uq_step_operation_node_kind"), postgresql_nulls_not_distinct=True
        ),
        schema="svm",
    )
    op.create_index(
        "ix_step_held",
        "step",
        ["operation", "id"],
        unique=False,
        schema="svm",
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_index(
        "ix_step_released",
        "step",
        ["published_at"],
        unique=False,
        schema="svm",
        postgresql_where=sa.text("state = 'released'"),
    )
    op.create_index(
        "ix_step_running",
        "step",
        ["claim_until"],
        unique=False,
        schema="svm",
        postgresql_where=sa.text("state = 'running'"),
    )
