"""svmd, the agent and simulated nodes, armed; and the points that each verb must have brought them to."""

from collections.abc import Mapping
from types import ModuleType

from tests.faults.crashing.requests import (
    ANSWERED,
    BEFORE_ANSWER,
    HEARD,
    around,
    around_waiting,
    calls,
    commits,
    dying,
)

_ENDS = (HEARD, BEFORE_ANSWER, ANSWERED)
_PUBLISHED = calls("publishing", 1)
_NODE_CALL = (*_ENDS, *commits(1))

SVMD = (*_ENDS, *commits(1), *_PUBLISHED)
"""An operation is one commit; it is published after the answer."""
AGENT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "createslice": {"POST tickets": (*_ENDS, *commits(1, 2), *calls("call", 1)), "PUT ads": (*_ENDS, *commits(1))},
    "deleteslice": {"DELETE slices": (*_ENDS, *calls("call", 1), *commits(1))},
}
"""Reserved, registered at plc, issued; given back at plc, forgotten."""
NODE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "createslice": {"POST leases": _NODE_CALL, "PUT slivers": (*_ENDS, *commits(1, 2), *calls("driver call", 1))},
    "addkey": {"PUT slivers access": _NODE_CALL},
    "renewslice": {"POST slivers renew": _NODE_CALL},
    "delkey": {"PUT slivers access": _NODE_CALL},
    "nukekeys": {"PUT slivers access": _NODE_CALL},
    "deleteslice": {"DELETE slivers": (*_ENDS, *commits(1, 2), *calls("driver call", 1))},
}
"""The last commit of a creation and of a deletion says that the driver is done."""


def required(role: str, verb: str) -> set[str]:
    """Points of `role` that nobody gets past when this verb is done on new slices."""
    if role == "svmd":
        return {f"POST operations, {place}" for place in SVMD}
    found = {"agent": AGENT, "simnodes": NODE}[role].get(verb, {})
    return {f"{request}, {place}" for request, places in found.items() for place in places}


def arm_svmd() -> None:
    """Its commits, and what it publishes."""
    import svm.service.daemon as daemon
    import tasks.publish as publishing

    _arm_commits()
    publishing._send = around("publishing", publishing._send)
    _arm_requests(daemon)


def arm_agent() -> None:
    """Its commits, and its calls to plc."""
    import agent.daemon as daemon
    from plc.client import Plc

    _arm_commits()
    for name in ("register_slice", "release_slice"):
        setattr(Plc, name, around("call", getattr(Plc, name)))
    _arm_requests(daemon)


def arm_nodes() -> None:
    """The commits of their stores, and what they have the driver do."""
    import testbed.simulation.process as process
    from nodemgr.slivers.drivers.simulated import SimulatedDriver
    from nodemgr.storage.store import Store

    Store._commit = around("commit", Store._commit)  # type: ignore[method-assign]
    for name in ("create", "delete"):
        setattr(SimulatedDriver, name, around_waiting("driver call", getattr(SimulatedDriver, name)))
    _arm_requests(process)


def _arm_commits() -> None:
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg as Dialect

    Dialect.do_commit = around("commit", Dialect.do_commit)  # type: ignore[method-assign]


def _arm_requests(daemon: ModuleType) -> None:
    """What the daemon's module calls to make its application."""
    create = vars(daemon)["create_app"]
    vars(daemon)["create_app"] = lambda *args: dying(create(*args))
