"""The ledger of what slivers were granted and used: as nodes tell it, idempotent by each interval's id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.dialects.postgresql import insert

from models.plc import usage
from plc.accounts import Actor, require_admin
from plc.client.usage import Used
from trust.errors import Code, Refusal
from trust.identity import Identity

# What a total is of, and of whom.
GROUPS = {
    "user": ("u.owner", "u.owner"),
    "site": ("coalesce(s.name, '')", "''"),
    "slice": ("u.slice", "u.owner"),
    "node": ("u.node", "''"),
}
_TOTALS = """
    SELECT of, owner, coalesce(sum(seconds) FILTER (WHERE kind = 'granted'), 0)::bigint AS granted,
        coalesce(sum(seconds) FILTER (WHERE kind = 'used'), 0)::bigint AS used
    FROM (SELECT {of} AS of, {owner} AS owner, u.kind, extract(epoch FROM
              least(coalesce(u.ended, u.bound), :until, :now) - greatest(u.began, :since)) AS seconds
          FROM plc.usage u LEFT JOIN plc.account a ON a.email = u.owner LEFT JOIN plc.site s ON s.id = a.site_id
          WHERE u.began < :until AND coalesce(u.ended, u.bound) > :since
            AND (CAST(:whose AS text) IS NULL OR u.owner = :whose)) t
    WHERE seconds > 0 GROUP BY of, owner ORDER BY granted DESC, of, owner
"""
TOTALS = {by: text(_TOTALS.format(of=of, owner=owner)) for by, (of, owner) in GROUPS.items()}


def keep(connection: Connection, node: Identity, said: Sequence[Used], now: datetime) -> None:
    """What a node tells of itself; of an interval that it has told before, what it says now counts."""
    if not said:
        return
    rows = [
        {**one.to_json(), "node": node.name, "slice_id": one.slice_id, **_moments(one), "told_at": now} for one in said
    ]
    new = insert(usage)
    changes = {name: new.excluded[name] for name in ("bound", "ended", "told_at")}
    connection.execute(new.on_conflict_do_update(index_elements=[usage.c.node, usage.c.id], set_=changes), rows)


def totals(
    connection: Connection, actor: Actor, by: str, since: datetime, until: datetime, now: datetime, *, everyones: bool
) -> Sequence[Row[Any]]:
    """`of owner granted used` (seconds within those times), the largest first: the caller's own, or everybody's.

    Raises Refusal: NOT_ALLOWED (not an admin), BAD_INPUT.
    """
    if everyones:
        require_admin(actor, "see what others used")
    if by not in TOTALS or since >= until:
        raise Refusal(Code.BAD_INPUT, f"by is one of {', '.join(TOTALS)}, and --since comes before --until")
    bound = {"since": since, "until": until, "now": now, "whose": None if everyones else actor.name}
    return connection.execute(TOTALS[by], bound).all()


def _moments(one: Used) -> dict[str, datetime | None]:
    return {"began": one.began, "bound": one.bound, "ended": one.ended}
