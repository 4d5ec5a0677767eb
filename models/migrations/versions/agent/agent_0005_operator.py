"""operator: what a node is, for its operator to read; nodes that get no new slivers."""

import sqlalchemy as sa
from alembic import op

revision = "agent_0005"
down_revision = "agent_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ad", sa.Column("slivers", sa.Integer(), nullable=True), schema="agent")
    op.add_column("ad", sa.Column("version", sa.Text(), nullable=True), schema="agent")
    op.add_column("ad", sa.Column("driver", sa.Text(), nullable=True), schema="agent")
    op.create_table(
        "drain",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_drain")),
        schema="agent",
    )


def downgrade() -> None:
    op.drop_table("drain", schema="agent")
    for name in ("driver", "version", "slivers"):
        op.drop_column("ad", name, schema="agent")
