"""hooks: what owners are told by HTTP, one outbox for that and for letters, links in letters."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

revision = "svm_0012"
down_revision = "svm_0011"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
STATES = "states <@ ARRAY['ending', 'ended', 'failed', 'healed'] AND cardinality(states) > 0"


def upgrade() -> None:
    op.add_column("slice", sa.Column("by_link", sa.Text()), schema="svm")
    op.add_column("slice", sa.Column("by_link_until", sa.DateTime(timezone=True)), schema="svm")
    op.add_column("notice", sa.Column("used_at", sa.DateTime(timezone=True)), schema="svm")
    op.add_column("notice", sa.Column("operation", UUID(as_uuid=True)), schema="svm")
    _hook()
    _delivery()
    op.execute("""
        INSERT INTO svm.delivery (slice, about, body, made_at)
        SELECT slice, about, jsonb_build_object('deadline', deadline, 'days', days), made_at FROM svm.notice
        WHERE sent_at IS NULL AND tried_at IS DISTINCT FROM 'infinity'
    """)
    op.drop_column("notice", "tried_at", schema="svm")
    op.drop_column("notice", "sent_at", schema="svm")


def downgrade() -> None:
    op.add_column("notice", sa.Column("tried_at", sa.DateTime(timezone=True)), schema="svm")
    op.add_column("notice", sa.Column("sent_at", sa.DateTime(timezone=True)), schema="svm")
    op.execute("""
        UPDATE svm.notice n SET sent_at = made_at WHERE NOT EXISTS (SELECT 1 FROM svm.delivery d
            WHERE d.slice = n.slice AND d.hook IS NULL AND d.about = n.about AND d.sent_at IS NULL
              AND d.given_up_at IS NULL AND CAST(d.body->>'deadline' AS timestamptz) = n.deadline
              AND CAST(d.body->>'days' AS int) = n.days)
    """)
    op.drop_table("delivery", schema="svm")
    op.drop_table("hook", schema="svm")
    op.drop_column("notice", "operation", schema="svm")
    op.drop_column("notice", "used_at", schema="svm")
    op.drop_column("slice", "by_link_until", schema="svm")
    op.drop_column("slice", "by_link", schema="svm")


def _hook() -> None:
    op.create_table(
        "hook",
        sa.Column("id", UUID(as_uuid=True), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("slice", UUID(as_uuid=True), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("states", ARRAY(sa.Text()), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(STATES, name=op.f("ck_hook_states_known")),
        sa.ForeignKeyConstraint(["slice"], ["svm.slice.id"], name=op.f("fk_hook_slice_slice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hook")),
        sa.UniqueConstraint("slice", "url", name=op.f("uq_hook_slice_url")),
        schema="svm",
    )


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", UUID(as_uuid=True), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("slice", UUID(as_uuid=True), nullable=False),
        sa.Column("hook", UUID(as_uuid=True)),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("body", JSONB(), nullable=False),
        sa.Column("events", sa.Integer(), server_default="1", nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.Column("given_up_at", sa.DateTime(timezone=True)),
        sa.Column("status", sa.Integer()),
        sa.Column("last_error", sa.Text()),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_delivery_attempts_counts")),
        sa.ForeignKeyConstraint(["hook"], ["svm.hook.id"], name=op.f("fk_delivery_hook_hook"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["slice"], ["svm.slice.id"], name=op.f("fk_delivery_slice_slice"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        schema="svm",
    )
    _index("uq_delivery_waiting", "hook", "about", where="attempts = 0", unique=True)
    _index("ix_delivery_due", "next_try_at", where="sent_at IS NULL AND given_up_at IS NULL")
    _index("ix_delivery_hook", "hook", "due_at")
    _index("ix_delivery_slice", "slice")
    _index("ix_delivery_made_at", "made_at")


def _index(name: str, *columns: str, where: str | None = None, unique: bool = False) -> None:
    only = sa.text(where) if where else None
    op.create_index(name, "delivery", list(columns), unique=unique, schema="svm", postgresql_where=only)
