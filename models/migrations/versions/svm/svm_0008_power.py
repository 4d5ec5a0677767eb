"""power: slivers that are stopped; start, stop, restart, reset, shrink; leases of another length."""
# ruff: noqa: E501 - constraints stand on one line each, as PostgreSQL shows them

import sqlalchemy as sa
from alembic import op

revision = "svm_0008"
down_revision = "svm_0007"
branch_labels = None
depends_on = None

STATES = "state IN ('ticketed', 'leased', 'running', {}'expired', 'deleting', 'deleted')"
WHOLE = "state NOT IN ('leased', 'running'{}) OR (lease IS NOT NULL AND expires_at IS NOT NULL AND generation > 0)"
VERBS = "verb IN ('createslice', 'newtickets', 'newleases', 'newvms', 'addkey', 'delkey', 'nukekeys', 'rekey', 'renewslice', 'deleteslice', 'clean', {}'autorenew', 'heal', 'delegate', 'undelegate', 'replace', 'reconcile', 'release', 'canary')"
KINDS = "kind IN ('newtickets', 'newleases', 'newvms', 'addkey', 'delkey', 'nukekeys', 'rekey', {}'renew', 'delete', 'release', 'replace', 'reconcile', 'canary')"
OPEN = "ended_at IS NULL AND verb IN ('createslice', 'newtickets', 'newleases', 'newvms', 'renewslice', 'deleteslice', 'replace', 'rekey'{})"
RENEWED, EXPIRING = "state IN ('leased', 'running'{})", "state IN ('ticketed', 'leased', 'running'{})"
ORDERS = ("start", "stop", "restart", "reset")
NEW_VERBS = (*ORDERS, "shrink")


def upgrade() -> None:
    op.alter_column("sliver", "stopped_at", new_column_name="died_at", schema="svm")
    op.add_column(
        "slice",
        sa.Column("leaselen_changed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        schema="svm",
    )
    _say("'stopped', ", ", 'stopped'", _listed(ORDERS), _listed(NEW_VERBS))
    op.execute("UPDATE svm.sliver SET state = 'stopped' WHERE state = 'leased' AND died_at IS NOT NULL")


def downgrade() -> None:
    op.execute(
        "UPDATE svm.sliver SET state = 'leased', died_at = coalesce(died_at, changed_at) WHERE state = 'stopped'"
    )
    op.execute("DELETE FROM svm.operation WHERE verb IN ('start', 'stop', 'restart', 'reset', 'shrink')")
    _say("", "", "", "")
    op.drop_column("slice", "leaselen_changed", schema="svm")
    op.alter_column("sliver", "died_at", new_column_name="stopped_at", schema="svm")


def _listed(words: tuple[str, ...]) -> str:
    return "".join(f"'{word}', " for word in words)


def _say(state: str, last_state: str, kinds: str, verbs: str) -> None:
    checks = (
        ("sliver", "state_known", STATES.format(state)),
        ("sliver", "leased_whole", WHOLE.format(last_state)),
        ("operation", "verb_known", VERBS.format(verbs)),
        ("step", "kind_known", KINDS.format(kinds)),
    )
    for table, name, text in checks:
        constraint = op.f(f"ck_{table}_{name}")
        op.drop_constraint(constraint, table, schema="svm")
        op.create_check_constraint(constraint, table, text, schema="svm")
    last_verbs = f", {verbs[:-2]}" if verbs else ""
    _index("uq_operation_open", "operation", "slice", OPEN.format(last_verbs), unique=True)
    _index("ix_sliver_renew_at", "sliver", "renew_at", RENEWED.format(last_state))
    _index("ix_sliver_expires_at", "sliver", "expires_at", EXPIRING.format(last_state))


def _index(name: str, table: str, column: str, where: str, *, unique: bool = False) -> None:
    op.drop_index(name, table, schema="svm")
    op.create_index(name, table, [column], unique=unique, schema="svm", postgresql_where=sa.text(where))
