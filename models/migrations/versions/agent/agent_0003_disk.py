"""disk: what a node says of its disk stands beside the rest; tickets that were given back are found by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "agent_0003"
down_revision = "agent_0002"
branch_labels = None
depends_on = None

RETURNED = sa.text("state = 'returned'")


def upgrade() -> None:
    op.add_column("ad", sa.Column("disk_free_mb", sa.Integer(), nullable=True), schema="agent")
    op.create_index("ix_ticket_returned", "ticket", ["node"], schema="agent", postgresql_where=RETURNED)


def downgrade() -> None:
    op.drop_index("ix_ticket_returned", "ticket", schema="agent", postgresql_where=RETURNED)
    op.drop_column("ad", "disk_free_mb", schema="agent")
