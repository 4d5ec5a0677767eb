"""living: what clean and reconcile look for costs the same beside a long history."""

import sqlalchemy as sa
from alembic import op

revision = "svm_0007"
down_revision = "svm_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    living, gone = sa.text("state <> 'deleted'"), sa.text("state = 'deleted'")
    op.create_index("ix_sliver_living", "sliver", ["slice"], schema="svm", postgresql_where=living)
    op.create_index("ix_sliver_gone", "sliver", ["changed_at"], schema="svm", postgresql_where=gone)


def downgrade() -> None:
    op.drop_index("ix_sliver_gone", "sliver", schema="svm")
    op.drop_index("ix_sliver_living", "sliver", schema="svm")
