"""The outbox: what owners are told by letter, and their hooks by HTTP; kept until it went out or was given up.

It is written in the transaction of what it tells, so that none is lost; each is taken by one worker for a while. A
worker that dies between sending and writing down sends again under the same id, by which the reader knows it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.rows import of_row
from rpc.fate import Fate, pause
from trust.identity import Identity

CLAIM_SECONDS = 120  # nobody else takes what was taken for this long
GIVEN_UP_DAYS = 3  # after this it is not tried again: nobody takes it there
AT_ONCE = 20  # few enough that a slow server takes them all before anybody else does

# A hook is told of one state once an hour; what happens meanwhile joins what waits. FOR KEY SHARE: a hook that is being
# taken away gets nothing any more.
_POST = text("""
    INSERT INTO svm.delivery AS d (slice, hook, about, body, due_at, next_try_at)
    SELECT h.slice, h.id, :about, CAST(:body AS jsonb), p.due, p.due
    FROM svm.hook h CROSS JOIN LATERAL (SELECT greatest(now(), max(p.due_at) + interval '1 hour') AS due
        FROM svm.delivery p WHERE p.hook = h.id AND p.about = :about) p
    WHERE h.slice = :slice AND :about = ANY(h.states) ORDER BY h.id FOR KEY SHARE OF h
    ON CONFLICT (hook, about) WHERE attempts = 0 DO UPDATE SET body = excluded.body, made_at = now(),
        events = d.events + 1
""")
_POST_NOW = text("""
    INSERT INTO svm.delivery AS d (slice, hook, about, body)
    SELECT slice, id, :about, CAST(:body AS jsonb) FROM svm.hook WHERE id = :hook FOR KEY SHARE
    ON CONFLICT (hook, about) WHERE attempts = 0 DO UPDATE SET body = excluded.body
    RETURNING id
""")
_WRITE = text("INSERT INTO svm.delivery (slice, about, body) VALUES (:slice, :about, CAST(:body AS jsonb))")

_TAKE = text("""
    UPDATE svm.delivery AS d SET attempts = d.attempts + 1, next_try_at = now() + make_interval(secs => :claim)
    FROM (SELECT d.id AS of, x.name, x.owner, h.url, h.sealed_secret,
              greatest(x.by_link_until, x.standing_until) > now() AS may_renew
          FROM svm.delivery d JOIN svm.slice x ON x.id = d.slice LEFT JOIN svm.hook h ON h.id = d.hook
          WHERE d.sent_at IS NULL AND d.given_up_at IS NULL AND d.next_try_at <= now()
            AND (d.hook IS NULL) = :letters AND d.made_at > now() - make_interval(days => :days)
          ORDER BY d.next_try_at LIMIT :most FOR UPDATE OF d SKIP LOCKED) AS u
    WHERE d.id = u.of
    RETURNING d.*, u.*
""")
_SENT = text("UPDATE svm.delivery SET sent_at = now(), status = :status, last_error = NULL WHERE id = :id")
_NOT_SENT = text("""
    UPDATE svm.delivery SET status = :status, last_error = :reason, next_try_at = now() + make_interval(secs => :again),
        given_up_at = CASE WHEN :never OR made_at < now() - make_interval(days => :days) THEN now() END
    WHERE id = :id AND sent_at IS NULL AND given_up_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to tell.

    Args:
        name, owner: the slice's.
        about: a hook's state (`models.states.HookState`, or `test`), or what the letter is about.
        body: what happened; `events` how often within the hour, of which it is the last.
        may_renew: whether svmd has the owner's permission to renew by a link.
        url, sealed_secret: the hook's; None: a letter to the owner.
    """

    id: UUID
    slice: UUID
    name: str
    owner: Identity
    hook: UUID | None
    about: str
    body: Mapping[str, Any]
    events: int
    made_at: datetime
    attempts: int
    may_renew: bool | None
    url: str | None
    sealed_secret: bytes | None = field(repr=False)


def post(connection: Connection, slice_row: UUID, about: str, body: Mapping[str, object]) -> None:
    """For every hook of the slice that wants to know of such."""
    connection.execute(_POST, {"slice": slice_row, "about": about, "body": json.dumps(body, default=str)})


def post_to(connection: Connection, hook: UUID, about: str, body: Mapping[str, object]) -> UUID | None:
    """For this hook, at once; the delivery, None when the hook is gone."""
    bound = {"hook": hook, "about": about, "body": json.dumps(body, default=str)}
    return connection.scalars(_POST_NOW, bound).one_or_none()


def write(connection: Connection, slice_row: UUID, about: str, body: Mapping[str, object]) -> None:
    """A letter to the slice's owner."""
    connection.execute(_WRITE, {"slice": slice_row, "about": about, "body": json.dumps(body, default=str)})


def take(connection: Connection, *, letters: bool) -> list[Delivery]:
    """What is due, letters or what hooks are told; taken for a while, so that two workers do not send the same."""
    bound = {"letters": letters, "claim": CLAIM_SECONDS, "days": GIVEN_UP_DAYS, "most": AT_ONCE}
    return [of_row(Delivery, row, owner=Identity.parse(row.owner)) for row in connection.execute(_TAKE, bound)]


def came_to(connection: Connection, one: Delivery, fate: Fate, reason: str, status: int | None = None) -> None:
    """Write down how a try ended. `status`: the HTTP status of the answer."""
    if fate is Fate.SENT:
        connection.execute(_SENT, {"id": one.id, "status": status})
        return
    came = {"status": status, "reason": reason, "never": fate is Fate.NEVER}
    connection.execute(_NOT_SENT, {"id": one.id, **came, "again": pause(one.attempts), "days": GIVEN_UP_DAYS})
