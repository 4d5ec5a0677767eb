"""rekey: generations of the slices' own key pairs."""
# ruff: noqa: E501 - constraints stand on one line each, as PostgreSQL shows them

import sqlalchemy as sa
from alembic import op

revision = "svm_0002"
down_revision = "svm_0001"
branch_labels = None
depends_on = None

VERBS = "verb IN ('createslice', 'newtickets', 'newleases', 'newvms', 'addkey', 'delkey', 'nukekeys', {}'renewslice', 'deleteslice', 'clean', 'autorenew', 'heal', 'delegate', 'undelegate', 'replace', 'reconcile', 'release', 'canary')"
KINDS = "kind IN ('newtickets', 'newleases', 'newvms', 'addkey', 'delkey', 'nukekeys', {}'renew', 'delete', 'release', 'replace', 'reconcile', 'canary')"
OPEN = "ended_at IS NULL AND verb IN ('createslice', 'newtickets', 'newleases', 'newvms', 'renewslice', 'deleteslice', 'replace'{})"
COLUMNS = (("slice", "pair_generation"), ("slice", "pair_wanted"), ("sliver", "pair_generation"))


def upgrade() -> None:
    for table, name in COLUMNS:
        op.add_column(table, sa.Column(name, sa.Integer(), server_default="0", nullable=False), schema="svm")
        op.create_check_constraint(op.f(f"ck_{table}_{name}_counts"), table, f"{name} >= 0", schema="svm")
    _words("'rekey', ", ", 'rekey'")


def downgrade() -> None:
    op.execute("DELETE FROM svm.operation WHERE verb = 'rekey'")
    _words("", "")
    for table, name in COLUMNS:
        op.drop_column(table, name, schema="svm")


def _words(word: str, last: str) -> None:
    for table, name, text in (("operation", "verb", VERBS), ("step", "kind", KINDS)):
        constraint = op.f(f"ck_{table}_{name}_known")
        op.drop_constraint(constraint, table, schema="svm")
        op.create_check_constraint(constraint, table, text.format(word), schema="svm")
    op.drop_index("uq_operation_open", "operation", schema="svm")
    op.create_index(
        "uq_operation_open",
        "operation",
        ["slice"],
        unique=True,
        schema="svm",
        postgresql_where=sa.text(OPEN.format(last)),
    )
