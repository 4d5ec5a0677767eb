"""What plc's operator reads: everybody's slices, and which slivers the tables know (`dslice slices`, `dslice orphans`).

Only reads: what the operator changes, he has nodes change, by orders of his own (docs/protocol.md, "Orders").
"""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Response
from fastapi.responses import JSONResponse

from lifecycle import known, slices
from rpc.server import Guard
from svm.service.bodies import slice_json, sliver_json
from svm.service.context import Service
from trust.authorize import require_operator
from trust.identity import Identity, Role
from trust.names import check_slice_name
from trust.peers import Peer

Word = Annotated[str | None, Query(max_length=300)]


def add_operator(app: FastAPI, service: Service, guard: Guard) -> None:
    """`GET /operator/slices`, `GET /operator/slices/{name}`, `GET /operator/slivers`."""
    operators = Depends(guard.role(Role.USER, Role.PLC))

    @app.get("/operator/slices")
    def get_everyones(peer: Annotated[Peer, operators], owner: Word = None, node: Word = None) -> Response:
        require_operator(peer)
        whose = Identity.user(owner) if owner else None
        with service.engine.connect() as connection:
            found = slices.everyones(connection, whose, node)
        return JSONResponse({"now": service.now().isoformat(), "slices": [slice_json(each) for each in found]})

    @app.get("/operator/slices/{name}")
    def get_anyones(name: str, peer: Annotated[Peer, operators]) -> Response:
        require_operator(peer)
        with service.engine.connect() as connection:
            found = slices.find(connection, check_slice_name(name), None)
            there = [sliver_json(each) for each in slices.slivers(connection, found.id)]
        return JSONResponse({**slice_json(found), "now": service.now().isoformat(), "slivers": there})

    @app.get("/operator/slivers")
    def get_known(peer: Annotated[Peer, operators]) -> dict[str, Any]:
        require_operator(peer)
        with service.engine.connect() as connection:
            return {"slivers": known.known(connection), "orphans": known.orphans(connection)}
