"""operator: who is an admin by certificate; drained nodes; orders to remove slivers; what was used."""

import sqlalchemy as sa
from alembic import op

revision = "plc_0003"
down_revision = "plc_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    flag: sa.Column[bool] = sa.Column("admin", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    op.add_column("certificate", flag, schema="plc")
    op.create_check_constraint(
        op.f("ck_certificate_admin_is_user"), "certificate", "NOT admin OR role = 'user'", schema="plc"
    )
    _drain()
    _removal()
    _usage()


def _drain() -> None:
    op.create_table(
        "drain",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("renews", sa.Boolean(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("until > since", name=op.f("ck_drain_ends_later")),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_drain")),
        schema="plc",
    )


def _removal() -> None:
    op.create_table(
        "removal",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("signer", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("signer IN ('admin', 'plc')", name=op.f("ck_removal_signer")),
        sa.CheckConstraint("expires_at > made_at", name=op.f("ck_removal_ends_later")),
        sa.CheckConstraint("done_at IS NULL OR node IS NOT NULL", name=op.f("ck_removal_done_by_one")),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_removal")),
        schema="plc",
    )
    op.create_index(op.f("ix_removal_expires_at"), "removal", ["expires_at"], unique=False, schema="plc")


def _usage() -> None:
    op.create_table(
        "usage",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("began", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bound", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('granted', 'used')", name=op.f("ck_usage_kind")),
        sa.CheckConstraint("ended >= began", name=op.f("ck_usage_ends_later")),
        sa.PrimaryKeyConstraint("node", "id", name=op.f("pk_usage")),
        schema="plc",
    )
    op.create_index(op.f("ix_usage_owner_began"), "usage", ["owner", "began"], unique=False, schema="plc")
    op.create_index(op.f("ix_usage_began"), "usage", ["began"], unique=False, schema="plc")


def downgrade() -> None:
    op.drop_index(op.f("ix_usage_began"), table_name="usage", schema="plc")
    op.drop_index(op.f("ix_usage_owner_began"), table_name="usage", schema="plc")
    op.drop_table("usage", schema="plc")
    op.drop_index(op.f("ix_removal_expires_at"), table_name="removal", schema="plc")
    op.drop_table("removal", schema="plc")
    op.drop_table("drain", schema="plc")
    op.drop_constraint(op.f("ck_certificate_admin_is_user"), "certificate", schema="plc")
    op.drop_column("certificate", "admin", schema="plc")
