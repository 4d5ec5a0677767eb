"""bounds: a redeemed ticket's row goes; what an owner has out is found by owner."""

import sqlalchemy as sa
from alembic import op

revision = "agent_0002"
down_revision = "agent_0001"
branch_labels = None
depends_on = None

OPEN = sa.text("state IN ('reserved', 'issued')")


def upgrade() -> None:
    op.execute("DELETE FROM agent.ticket WHERE state = 'burnt'")
    _states("'reserved', 'issued', 'returned'")
    op.drop_index("ix_ticket_open_owner", "ticket", schema="agent", postgresql_where=OPEN)
    op.drop_index("ix_ticket_open_node", "ticket", schema="agent", postgresql_where=OPEN)
    op.create_index("ix_ticket_node", "ticket", ["node", "expires_at"], schema="agent")
    op.create_index("ix_ticket_owner", "ticket", ["owner", "expires_at"], schema="agent")
    op.create_index("ix_request_owner", "request", ["owner", "made_at"], schema="agent")


def downgrade() -> None:
    op.drop_index("ix_request_owner", "request", schema="agent")
    op.drop_index("ix_ticket_owner", "ticket", schema="agent")
    op.drop_index("ix_ticket_node", "ticket", schema="agent")
    op.create_index("ix_ticket_open_node", "ticket", ["node"], schema="agent", postgresql_where=OPEN)
    op.create_index("ix_ticket_open_owner", "ticket", ["owner"], schema="agent", postgresql_where=OPEN)
    _states("'reserved', 'issued', 'returned', 'burnt'")


def _states(listed: str) -> None:
    op.drop_constraint(op.f("ck_ticket_state"), "ticket", schema="agent")
    op.create_check_constraint(op.f("ck_ticket_state"), "ticket", f"state IN ({listed})", schema="agent")
