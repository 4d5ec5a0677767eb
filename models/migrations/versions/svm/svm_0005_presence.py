"""presence: workers that are there, and whose claim a step is."""

import sqlalchemy as sa
from alembic import op

revision = "svm_0005"
down_revision = "svm_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        schema="svm",
    )
    op.add_column("step", sa.Column("claim_worker", sa.Integer()), schema="svm")


def downgrade() -> None:
    op.drop_column("step", "claim_worker", schema="svm")
    op.drop_table("worker", schema="svm")
