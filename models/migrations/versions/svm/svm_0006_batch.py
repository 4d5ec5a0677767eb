"""batch: a message of a large operation carries up to 64 steps; the table never had the model's constraint."""

from alembic import op

revision = "svm_0006"
down_revision = "svm_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    name = op.f("ck_operation_batch_range")
    op.create_check_constraint(name, "operation", "batch BETWEEN 1 AND 64", schema="svm")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_operation_batch_range"), "operation", schema="svm")
