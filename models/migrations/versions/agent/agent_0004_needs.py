"""needs: what a ticket's slice needs, and what nodes say of what they can give."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "agent_0004"
down_revision = "agent_0003"
branch_labels = None
depends_on = None

NUMBERS, OTHERS = ("memory_mb", "disk_mb", "sliver_mb", "most_processes", "disk_unpromised_mb"), ("images", "quota")


def upgrade() -> None:
    for name in NUMBERS:
        op.add_column("ad", sa.Column(name, sa.Integer(), nullable=True), schema="agent")
    op.add_column("ad", sa.Column("images", JSONB(), nullable=True), schema="agent")
    op.add_column("ad", sa.Column("quota", sa.Text(), nullable=True), schema="agent")
    op.add_column("ticket", sa.Column("needs", JSONB(), nullable=False, server_default="{}"), schema="agent")


def downgrade() -> None:
    op.drop_column("ticket", "needs", schema="agent")
    for name in (*NUMBERS, *OTHERS):
        op.drop_column("ad", name, schema="agent")
