"""history: operations that ended long ago are found by when they did, to be forgotten."""

from alembic import op

revision = "svm_0003"
down_revision = "svm_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_operation_ended_at", "operation", ["ended_at"], schema="svm")


def downgrade() -> None:
    op.drop_index("ix_operation_ended_at", "operation", schema="svm")
