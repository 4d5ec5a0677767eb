"""stopped: slivers whose VM has ended by itself."""

import sqlalchemy as sa
from alembic import op

revision = "svm_0004"
down_revision = "svm_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sliver", sa.Column("stopped_at", sa.DateTime(timezone=True)), schema="svm")


def downgrade() -> None:
    op.drop_column("sliver", "stopped_at", schema="svm")
