"""What an owner is told before it is too late: once for each deadline, three days and one day ahead.

* `autorenew`: it will end, at the date that its owner set or with the standing delegation;
* `autorenew-ended`: it has;
* `lease`: a slice that does not renew itself is about to lose its leases.

Nothing is announced earlier than half a lease before its end: who asks for an hour knows that it ends.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from trust.identity import Identity

DAYS = (3, 1)
AGAIN_SECONDS = 300  # between two tries to send the same letter
GIVEN_UP_DAYS = 3  # after this it is not tried again: the address takes no letters

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
""")  # noqa: S608 - made of constants of this file
_ENDED = text("""
    INSERT INTO svm.notice (slice, about, deadline, days) VALUES (:slice, 'autorenew-ended', now(), 0)
    ON CONFLICT DO NOTHING
""")
_TO_SEND = text("""
    UPDATE svm.notice AS n SET tried_at = now()
    FROM (SELECT n.slice, n.about, n.deadline, n.days, x.name, x.owner FROM svm.notice n
          JOIN svm.slice x ON x.id = n.slice
          WHERE n.sent_at IS NULL AND n.made_at > now() - make_interval(days => :days)
              AND (n.tried_at IS NULL OR n.tried_at < now() - make_interval(secs => :again))
          ORDER BY n.made_at LIMIT 50 FOR UPDATE OF n SKIP LOCKED) AS u
    WHERE (n.slice, n.about, n.deadline, n.days) = (u.slice, u.about, u.deadline, u.days)
    RETURNING u.*
""")
_GIVEN_UP = text("""
    UPDATE svm.notice SET tried_at = 'infinity'
    WHERE slice = :slice AND about = :about AND deadline = :deadline AND days = :days
""")
_SENT = text("""
    UPDATE svm.notice SET sent_at = now()
    WHERE slice = :slice AND about = :about AND deadline = :deadline AND days = :days
""")


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell an owner."""

    slice: UUID
    name: str
    owner: Identity
    about: str
    deadline: datetime
    days: int

    @property
    def subject(self) -> str:
        """Of the letter."""
        if self.about == "autorenew-ended":
            return f"{self.name}: autorenew has ended"
        what = "autorenew ends" if self.about == "autorenew" else "its leases end"
        return f"{self.name}: {what} within {self.days} day{'s' if self.days > 1 else ''}"

    @property
    def body(self) -> str:
        """What happens when, and what to type."""
        when = f"{self.deadline:%Y-%m-%d %H:%M:%S} UTC"
        if self.about == "lease":
            what = f"The first lease of your slice {self.name} ends at {when}, and nothing renews it."
            advice = f"To keep it:  svm renewslice {self.name}   or   svm autorenew {self.name} on"
        elif self.about == "autorenew":
            what = f"Your slice {self.name} renews itself until {when}; after that its leases run out."
            # No permission outlives the certificate that gave it, and that may be what ends then.
            advice = f"To go on:  plkeygen --renew   and then   svm autorenew {self.name} on"
        else:
            what = f"Your slice {self.name} has not renewed itself since {when}: svm history {self.name} says why."
            advice = f"To go on:  svm autorenew {self.name} on"
        return f"{what}\n\n{advice}\n"


def announce(connection: Connection) -> None:
    """Write down what has become due to be told."""
    connection.execute(_ANNOUNCE, {"days": list(DAYS)})


def autorenew_ended(connection: Connection, slice_row: UUID) -> None:
    """To be told at once."""
    connection.execute(_ENDED, {"slice": slice_row})


def to_send(connection: Connection) -> list[Notice]:
    """Letters to send now; each is taken for a while, so that two workers do not send it twice."""
    rows = connection.execute(_TO_SEND, {"again": AGAIN_SECONDS, "days": GIVEN_UP_DAYS})
    return [Notice(r.slice, r.name, Identity.parse(r.owner), r.about, r.deadline, r.days) for r in rows]


def sent(connection: Connection, notice: Notice) -> None:
    """The mail server has taken it."""
    connection.execute(_SENT, _this(notice))


def given_up(connection: Connection, notice: Notice) -> None:
    """The mail server will never take it: it is never due again."""
    connection.execute(_GIVEN_UP, _this(notice))


def _this(notice: Notice) -> dict[str, object]:
    return {"slice": notice.slice, "about": notice.about, "deadline": notice.deadline, "days": notice.days}
