"""What the operator's buttons do: each the same as a verb of `dslice`, by the same functions."""

import threading
from collections.abc import Mapping

from admin.lab.looking import look_once_leaving
from admin.lab.nodes import enrolled, owners
from admin.lab.orphans import found, removal
from admin.lab.slices import deletion, eviction
from admin.web.everyones import Operating
from svm.arguments import day
from trust.clock import system_clock
from trust.errors import Code, Refusal

Form = Mapping[str, str]


def drain(asking: Operating, which: str, form: Form) -> str:
    """As `dslice node drain`; the node's page. Raises Refusal."""
    reason, until = _reason(form), form.get("until", "").strip()
    end = day(until, system_clock().now()) if until else None
    node = enrolled(asking.reach, which)
    how = {"renews": not form.get("no-renew"), "replaces": bool(form.get("replace"))}
    asking.reach.plc.drain(node.name, reason, end, tell=owners(asking.reach, node), **how)
    if how["replaces"]:  # it may take the node 20 s to hear of it
        threading.Thread(target=look_once_leaving, args=(asking.reach, node), daemon=True).start()
    return f"/nodes/{node.name}"


def undrain(asking: Operating, which: str, _form: Form) -> str:
    """As `dslice node undrain`. Raises Refusal."""
    node = enrolled(asking.reach, which)
    asking.reach.plc.undrain(node.name)
    return f"/nodes/{node.name}"


def evict(asking: Operating, name: str, form: Form) -> str:
    """As `dslice evict`; the page of its orders. Raises Refusal."""
    reason, nodes = _reason(form), form.get("node", "").split()
    if not nodes:
        raise Refusal(Code.BAD_INPUT, "no node was ticked; tick those whose slivers are to go")
    return asking.keep(f"Evict {name}", reason, eviction(asking.reach, name, nodes, reason))


def delete(asking: Operating, name: str, form: Form) -> str:
    """As `dslice slice delete`; the page of its orders. Raises Refusal."""
    reason = _reason(form)
    if form.get("name", "").strip() != name:
        raise Refusal(Code.BAD_INPUT, f"nothing was deleted: type {name} into the field to confirm")
    return asking.keep(f"Delete {name}", reason, deletion(asking.reach, name, reason)[1])


def look(asking: Operating, _form: Form) -> str:
    """As `dslice orphans`; the page says when it is done."""
    asking.look()
    return "/orphans"


def free(asking: Operating, form: Form) -> str:
    """As `dslice orphan free NODE SLICE`: the node is asked again before. Raises Refusal."""
    reason, node, slice = _reason(form), form.get("node", ""), form.get("slice", "")
    stray, silent = found(asking.reach, node)
    if node in silent:
        raise Refusal(Code.UNREACHABLE, f"{node} was not asked: {silent[node]}")
    chosen = [one.held for one in stray if (one.held.node, one.held.slice) == (node, slice)]
    if not chosen:
        raise Refusal(
            Code.NOT_FOUND, f"{slice[:40]!a} is no orphan on {node[:60]!a} any more; have the nodes asked again"
        )
    return asking.keep(f"Free {slice} on {node}", reason, [removal(asking.reach, one, reason) for one in chosen])


def _reason(form: Form) -> str:
    reason = " ".join(form.get("reason", "").split())
    if not reason:
        raise Refusal(
            Code.BAD_INPUT, "no reason was given: owners read it, and plc's journal keeps it; nothing was done"
        )
    return reason
