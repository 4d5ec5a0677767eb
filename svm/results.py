"""What an operation's events say of its nodes and of its end. Pure, and needs nothing else of `svm`."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trust.errors import Code, Refusal, printable


@dataclass(frozen=True, slots=True)
class NodeResult:
    """How one node ended. `node` its IP, `step` the step that ended it, `note` what is worth saying of a success.

    `replaced`: it failed and another node takes its place, so it is no failure of the operation. `ends`: of a renewed
    lease, before and after, as svmd says them.
    """

    node: str
    ok: bool
    code: str | None = None
    reason: str | None = None
    step: str = ""
    note: str = ""
    replaced: bool = False
    ends: tuple[str | None, str] | None = None


def node_result(event: Mapping[str, Any], note: str = "") -> NodeResult:
    """Of an event of the type `node`."""
    detail = event.get("detail") or {}
    return NodeResult(
        node=str(event["node"]),
        ok=bool(event["ok"]),
        code=event.get("code"),
        reason=event.get("reason"),
        step=event.get("kind") or "",
        note=note,
        replaced=bool(detail.get("replaced")),
        ends=(detail.get("old"), str(detail["new"])) if "new" in detail else None,
    )


def nodes_in_all(event: Mapping[str, Any]) -> int:
    """How many nodes the operation is about, which its first event says; 0 of any other."""
    nodes = (event.get("detail") or {}).get("nodes")
    return nodes if event["type"] == "started" and isinstance(nodes, int) else 0


def refusal_of(ended: Mapping[str, Any]) -> Refusal | None:
    """Why the operation itself failed, of its last event; None where it did not, or only its nodes say why."""
    detail = ended.get("detail") or {}
    if detail.get("outcome") == "cancelled":
        return Refusal(Code.CANCELLED, "cancelled; steps already under way were completed")
    code = detail.get("code") or ended.get("code")
    if detail.get("outcome") != "failed" or code is None:
        return None
    known = Code(code) if code in set(Code) else Code.INTERNAL
    return Refusal(known, str(detail.get("reason") or ended.get("reason") or "failed without a reason"))


def summary_line(results: Iterable[NodeResult]) -> str:
    """`61 ok · 3 failed: 2 unreachable, 1 over capacity`, the commonest cause first."""
    found = list(results)
    words = [f"{sum(result.ok for result in found)} ok"]
    for name, replaced in (("replaced", True), ("failed", False)):
        causes = Counter(_cause(result) for result in found if not result.ok and result.replaced is replaced)
        if causes:
            each = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
            words.append(f"{causes.total()} {name}: {each}")
    return " · ".join(words)


def _cause(result: NodeResult) -> str:
    return printable((result.code or "other").replace("-", " "), 40)
