"""bounds: what one subject did lately, and what ended long ago, are found without reading everything."""

import sqlalchemy as sa
from alembic import op

revision = "plc_0002"
down_revision = "plc_0001"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_certificate_not_after": ("certificate", ["not_after"]),
    "ix_certificate_request_decided_at": ("certificate_request", ["decided_at"]),
    "ix_certificate_request_serial": ("certificate_request", ["serial"]),
    "ix_slice_name_released_at": ("slice_name", ["released_at"]),
    "ix_letter_recipient_written_at": ("letter", ["recipient", "written_at"]),
    "ix_letter_written_at": ("letter", ["written_at"]),
    "ix_event_who_at": ("event", ["who", "at"]),
    "ix_event_at": ("event", ["at"]),
}
REQUESTED = sa.text("state = 'requested'")


def upgrade() -> None:
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns, schema="plc")
    op.create_index(
        "ix_account_requested", "account", ["site_id", "asked_at"], schema="plc", postgresql_where=REQUESTED
    )
    _keep_accounts("WHEN (OLD.state <> 'requested') ")


def downgrade() -> None:
    _keep_accounts("")
    op.drop_index("ix_account_requested", "account", schema="plc", postgresql_where=REQUESTED)
    for name, (table, _) in reversed(INDEXES.items()):
        op.drop_index(name, table, schema="plc")


def _keep_accounts(when: str) -> None:
    """Who was never enabled has nothing that another of that e-mail could get."""
    op.execute("DROP TRIGGER keep_account ON plc.account")
    op.execute(
        "CREATE TRIGGER keep_account BEFORE DELETE ON plc.account"
        f" FOR EACH ROW {when}EXECUTE FUNCTION plc.keep_account()"
    )
