"""Routes of the ledger: nodes tell what was granted and used, users read what is theirs, the operator everything."""

from datetime import datetime, timedelta

from fastapi import APIRouter, Depends
from pydantic import AwareDatetime

from plc import usage
from plc.accounts import Actor
from plc.api.bodies import UsageBody
from plc.api.callers import Callers
from plc.central import Central
from plc.client.usage import Used
from trust.errors import Code, Refusal
from trust.identity import Role
from trust.peers import Peer

DAYS = 30  # that are shown where nobody says since when


def usage_routes(central: Central, callers: Callers) -> APIRouter:
    """`PUT /usage` for nodes; `GET /usage` for users, `GET /usage/everyones` for the operator."""
    router = APIRouter()

    @router.put("/usage", status_code=204)
    def tell(body: UsageBody, peer: Peer = Depends(callers.peer(Role.NODE))) -> None:
        now = central.clock.now()
        for one in body.intervals:
            if one.ended is not None and one.ended < one.began:
                raise Refusal(Code.BAD_INPUT, f"interval {one.id} ends before it begins; correct the node's clock")
        said = [Used(**dict(one)) for one in body.intervals]
        with central.begin() as connection:
            usage.keep(connection, peer.identity, said, now)

    @router.get("/usage")
    def mine(
        by: str = "slice",
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
        actor: Actor = Depends(callers.actor()),
    ) -> dict[str, object]:
        return _totals(central, actor, by, since, until, everyones=False)

    @router.get("/usage/everyones")
    def everyones(
        by: str = "user",
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
        actor: Actor = Depends(callers.operator()),
    ) -> dict[str, object]:
        return _totals(central, actor, by, since, until, everyones=True)

    return router


def _totals(
    central: Central, actor: Actor, by: str, since: datetime | None, until: datetime | None, *, everyones: bool
) -> dict[str, object]:
    now = central.clock.now()
    end = until or now
    begin = since or end - timedelta(days=DAYS)
    with central.begin() as connection:
        found = usage.totals(connection, actor, by, begin, end, now, everyones=everyones)
    told = [dict(row._mapping) for row in found]
    return {"since": begin.isoformat(), "until": end.isoformat(), "totals": told}
