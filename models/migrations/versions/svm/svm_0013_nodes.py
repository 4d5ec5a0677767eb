"""nodes: each node is known from its first ticket on, not only from the next round of reconcile."""

from alembic import op

revision = "svm_0013"
down_revision = "svm_0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        INSERT INTO svm.node (node, node_name, api)
        SELECT DISTINCT ON (node) node, node_name, api FROM svm.sliver
        WHERE state <> 'deleted' OR changed_at > now() - interval '1 day'
        ORDER BY node, changed_at DESC
        ON CONFLICT (node) DO NOTHING
    """)


def downgrade() -> None:
    """The rows may stay."""
