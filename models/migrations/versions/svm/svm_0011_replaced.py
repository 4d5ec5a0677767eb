"""replaced: nodes that their operator wants to be empty, and slivers that take the place of those there."""

import sqlalchemy as sa
from alembic import op

revision = "svm_0011"
down_revision = "svm_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node", sa.Column("leaving", sa.Text(), nullable=True), schema="svm")
    op.add_column("sliver", sa.Column("replaces", sa.Text(), nullable=True), schema="svm")


def downgrade() -> None:
    op.drop_column("sliver", "replaces", schema="svm")
    op.drop_column("node", "leaving", schema="svm")
