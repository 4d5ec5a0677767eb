"""heard_at: of what happened in a sliver and its node told, the last that its slice's history has."""

import sqlalchemy as sa
from alembic import op

revision = "svm_0010"
down_revision = "svm_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sliver", sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True), schema="svm")


def downgrade() -> None:
    op.drop_column("sliver", "heard_at", schema="svm")
