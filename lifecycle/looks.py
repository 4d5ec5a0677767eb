"""Rounds of `reconcile`: over all nodes, as beat asks for them, or over some at once, after an operator's order."""

from collections.abc import Sequence

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from lifecycle.inventory import nodes
from lifecycle.operations import BEAT, OperationRequest, Plan, StepRef, Verb, open_planned
from models.states import Kind
from trust.identity import Identity

PARALLELISM = 64
CONNECT_TIMEOUT = 5  # seconds: nobody waits, and a node that is away is asked again soon

_NAMED = text("SELECT node FROM svm.node WHERE node = ANY(:wanted) OR node_name = ANY(:wanted)")


def begin(
    connection: Connection, svm: Identity, wanted: Sequence[str] | None = None, actor: str = BEAT
) -> list[StepRef] | None:
    """Open a round; what to publish after the commit, None while one is open.

    Args:
        wanted: names or addresses of the nodes to ask; None for all.
    """
    found = nodes(connection)
    if wanted is not None:
        named = set(connection.scalars(_NAMED, {"wanted": list(wanted)}))
        found = [node for node in found if node in named]
    if not found:
        return []
    request = OperationRequest(
        Verb.RECONCILE, "", svm, parallelism=PARALLELISM, connect_timeout=CONNECT_TIMEOUT, actor=actor
    )
    attempt = connection.begin_nested()
    try:
        steps = tuple((Kind.RECONCILE, node) for node in found)
        refs = open_planned(connection, request, Plan(None, "", steps, nodes=len(found)))
    except IntegrityError:
        attempt.rollback()
        return None
    attempt.commit()
    return refs
