"""needs: what each sliver of a slice is to have."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "svm_0009"
down_revision = "svm_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("slice", sa.Column("needs", JSONB(), nullable=False, server_default="{}"), schema="svm")


def downgrade() -> None:
    op.drop_column("slice", "needs", schema="svm")
