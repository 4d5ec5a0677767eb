"""What an owner is told before it is too late: once for each deadline, three days and one day ahead.

* `autorenew`: it will end, at the date that its owner set or with the standing delegation;
* `autorenew-ended`: it has;
* `lease`: a slice that does not renew itself is about to lose its leases.

Nothing is announced earlier than half a lease before its end: who asks for an hour knows that it ends. Each becomes a
letter (`lifecycle/letters.py`) and, for hooks, the state `ending`.
"""

from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.outbox import post, write
from models.states import HookState

DAYS = (3, 1)

_DEADLINES = """
    SELECT x.id AS slice, 'autorenew' AS about, least(x.autorenew_until, x.standing_until) AS deadline, x.leaselen
    FROM svm.slice x WHERE x.state = 'open' AND x.autorenew
    UNION ALL
    SELECT x.id, 'lease', min(v.expires_at), x.leaselen
    FROM svm.slice x JOIN svm.sliver v ON v.slice = x.id
    WHERE x.state = 'open' AND NOT x.autorenew AND v.state IN ('leased', 'running', 'stopped') AND v.expires_at > now()
    GROUP BY x.id
"""
# Of the two warnings only the nearer one is due when both are.
_ANNOUNCE = text(f"""
    INSERT INTO svm.notice (slice, about, deadline, days)
    SELECT d.slice, d.about, d.deadline, min(days)
    FROM ({_DEADLINES}) d CROSS JOIN unnest(CAST(:days AS int[])) AS days
    WHERE d.deadline > now() AND d.deadline <= now() + make_interval(days => days)
      AND (d.about <> 'lease' OR make_interval(days => days) * 2 <= make_interval(secs => d.leaselen))
    GROUP BY d.slice, d.about, d.deadline
    ON CONFLICT DO NOTHING
    RETURNING slice, about, deadline, days
""")  # noqa: S608 - made of constants of this file
_ENDED = text("""
    INSERT INTO svm.notice (slice, about, deadline, days) VALUES (:slice, 'autorenew-ended', now(), 0)
    ON CONFLICT DO NOTHING RETURNING deadline
""")


def announce(connection: Connection) -> None:
    """Write down what has become due to be told."""
    for row in connection.execute(_ANNOUNCE, {"days": list(DAYS)}).all():
        when = {"deadline": row.deadline.isoformat(), "days": row.days}
        write(connection, row.slice, row.about, when)
        post(connection, row.slice, HookState.ENDING, {"what": row.about, **when})


def autorenew_ended(connection: Connection, slice_row: UUID) -> None:
    """To be told at once."""
    for deadline in connection.scalars(_ENDED, {"slice": slice_row}).all():
        write(connection, slice_row, "autorenew-ended", {"deadline": deadline.isoformat(), "days": 0})
