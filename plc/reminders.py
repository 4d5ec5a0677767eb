"""Users hear that their certificate ends, 14 and 3 days ahead, once for each.

What was said stands in the journal, written in the transaction of the letter. Who has a later certificate already hears
nothing, nor does anybody before half of the certificate's life is over: who has one for a day knows that it ends.
"""

from datetime import datetime

from sqlalchemy import Connection, text

from plc.journal import note
from plc.letters import certificate_ends
from plc.mail import post

DAYS = (14, 3)
TOLD = "certificate-ends"
_LOCK = 0x656E6473  # two plcs that look at once say it once

# Of the two reminders only the nearer one is due when both are.
_DUE = text("""
    SELECT u.* FROM (
        SELECT c.name AS email, a.name, c.serial, c.not_after, min(days) AS days
        FROM plc.certificate c JOIN plc.account a ON a.email = c.name CROSS JOIN unnest(CAST(:days AS int[])) AS days
        WHERE c.role = 'user' AND c.revoked_at IS NULL AND a.state = 'enabled' AND c.not_after > :now
          AND c.not_after <= :now + make_interval(days => days)
          AND c.not_after - c.issued_at >= make_interval(days => days * 2)
          AND NOT EXISTS (SELECT 1 FROM plc.certificate n WHERE n.role = 'user' AND n.name = c.name
              AND n.revoked_at IS NULL AND n.not_after > c.not_after)
        GROUP BY c.serial, a.id) u
    WHERE NOT EXISTS (SELECT 1 FROM plc.event e
        WHERE e.whom = u.email AND e.what = :told AND e.detail = u.serial || ' ' || u.days)
    ORDER BY u.not_after, u.email
""")


def remind(connection: Connection, now: datetime) -> int:
    """Letters into the outbox for those whose certificates end; how many. In the caller's transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    due = connection.execute(_DUE, {"days": list(DAYS), "now": now, "told": TOLD}).all()
    for row in due:
        post(connection, certificate_ends(row.email, row.name, row.not_after), now)
        note(connection, now, "plc", TOLD, row.email, f"{row.serial} {row.days}")
    return len(due)
