"""What every server counts of its requests, for Prometheus."""

from prometheus_client import Counter
from starlette.types import Scope

from rpc.problems import CODE

METHODS = frozenset({"GET", "PUT", "POST", "DELETE"})
OTHER = "other"

REQUESTS = Counter(
    "dslice_requests",
    "Requests answered, by method, route, status and, of refusals, code",
    ["method", "route", "status", "code"],
)


def count(scope: Scope, status: int) -> None:
    """One answer. What a stranger may make up (paths that are no route, methods) stands under one name."""
    route = getattr(scope.get("route"), "path", OTHER)
    method = scope.get("method", OTHER)
    method = method if method in METHODS else OTHER
    REQUESTS.labels(method, route, str(status), str(scope.get(CODE, ""))).inc()
