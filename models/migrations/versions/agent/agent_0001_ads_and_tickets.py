"""Advertisements, registrations, requests and tickets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "agent_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _ad()
    _registration()
    _request()
    _ticket()


def _ad() -> None:
    op.create_table(
        "ad",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("api", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("slots_free", sa.Integer(), nullable=False),
        sa.Column("memory_free_mb", sa.Integer(), nullable=False),
        sa.Column("max_leaselen", sa.Integer(), nullable=False),
        sa.Column("frontdoor_port", sa.Integer(), nullable=False),
        sa.Column("host_key", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("frontdoor_port BETWEEN 1 AND 65535", name=op.f("ck_ad_port")),
        sa.CheckConstraint("max_leaselen > 0", name=op.f("ck_ad_leaselen")),
        sa.CheckConstraint("slots_free >= 0 AND slots_free <= slots", name=op.f("ck_ad_slots")),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_ad")),
        sa.UniqueConstraint("address", name=op.f("uq_ad_address")),
        schema="agent",
    )


def _registration() -> None:
    op.create_table(
        "registration",
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("slice_id", name=op.f("pk_registration")),
        schema="agent",
    )


def _request() -> None:
    op.create_table(
        "request",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("response", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_request_digest")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request")),
        sa.UniqueConstraint("caller", "owner", "route", "key", name=op.f("uq_request_caller_owner_route_key")),
        schema="agent",
    )
    op.create_index(op.f("ix_request_made_at"), "request", ["made_at"], unique=False, schema="agent")


def _ticket() -> None:
    op.create_table(
        "ticket",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=True),
        sa.Column("leaselen", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state = 'reserved' OR slice_id IS NOT NULL", name=op.f("ck_ticket_registered")),
        sa.CheckConstraint("state IN ('reserved', 'issued', 'returned', 'burnt')", name=op.f("ck_ticket_state")),
        sa.CheckConstraint("expires_at > made_at", name=op.f("ck_ticket_life")),
        sa.CheckConstraint("leaselen > 0", name=op.f("ck_ticket_leaselen")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["agent.request.id"], name=op.f("fk_ticket_request_id_request"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_ticket")),
        schema="agent",
    )
    op.create_index(op.f("ix_ticket_expires_at"), "ticket", ["expires_at"], unique=False, schema="agent")
    op.create_index(
        "ix_ticket_open_node",
        "ticket",
        ["node"],
        unique=False,
        schema="agent",
        postgresql_where=sa.text("state IN ('reserved', 'issued')"),
    )
    op.create_index(
        "ix_ticket_open_owner",
        "ticket",
        ["owner"],
        unique=False,
        schema="agent",
        postgresql_where=sa.text("state IN ('reserved', 'issued')"),
    )
    op.create_index(op.f("ix_ticket_request_id"), "ticket", ["request_id"], unique=False, schema="agent")


def downgrade() -> None:
    op.drop_index(op.f("ix_ticket_request_id"), table_name="ticket", schema="agent")
    op.drop_index(
        "ix_ticket_open_owner",
        table_name="ticket",
        schema="agent",
        postgresql_where=sa.text("state IN ('reserved', 'issued')"),
    )
    op.drop_index(
        "ix_ticket_open_node",
        table_name="ticket",
        schema="agent",
        postgresql_where=sa.text("state IN ('reserved', 'issued')"),
    )
    op.drop_index(op.f("ix_ticket_expires_at"), table_name="ticket", schema="agent")
    op.drop_table("ticket", schema="agent")
    op.drop_index(op.f("ix_request_made_at"), table_name="request", schema="agent")
    op.drop_table("request", schema="agent")
    op.drop_table("registration", schema="agent")
    op.drop_table("ad", schema="agent")
