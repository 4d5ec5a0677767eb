"""replaced: drained nodes in whose place slices that heal get others."""

import sqlalchemy as sa
from alembic import op

revision = "plc_0004"
down_revision = "plc_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    flag: sa.Column[bool] = sa.Column("replaces", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    op.add_column("drain", flag, schema="plc")


def downgrade() -> None:
    op.drop_column("drain", "replaces", schema="plc")
