"""What a button asks for: from a form to a request, by one table. Decides; `asking` does."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from lifecycle.verbs import USER_VERBS, VERBS
from models.states import Verb
from svm.arguments import day, nodes
from svm.request import Request
from svm.slicefile import SliceFile
from svm.web.asking import Asking
from trust.errors import Code, Refusal
from trust.needs import Needs

Form = Mapping[str, str]
Found = Mapping[str, Any]


def change(asking: Asking, name: str, action: str, form: Form) -> str:
    """A button on a slice's page: do it; the page that shows it. Raises Refusal, BAD_INPUT for what the form lacks."""
    if action not in ACTIONS:
        raise Refusal(Code.NOT_FOUND, f"nothing is called {action[:40]!a} here; go back to the slice's page")
    with asking.svmd() as svmd:
        found = svmd.slice(name)
    if action == "addkey" and form.get("email", "").strip():
        form = {"key": "\n".join(asking.keys_of(form["email"].strip()))}
    request = ACTIONS[action](found, form)
    started = asking.start(request)
    if request.verb == "deleteslice":
        asking.forget(name)
    return f"/operations/{started.operation}" if VERBS[Verb(request.verb)].chain else f"/slices/{name}"


def cancel(asking: Asking, operation: str, _form: Form) -> str:
    """The button on an operation's page."""
    with asking.svmd() as svmd:
        svmd.cancel(operation)
    return f"/operations/{operation}"


def _autorenew(found: Found, form: Form) -> Request:
    until = form.get("until", "").strip()
    end = day(until, datetime.fromisoformat(found["now"])) if until else None
    return Request("autorenew", found["name"], autorenew=True, until=end, standing_heal=found["heal"])


def _repair(found: Found, _form: Form) -> Request:
    """createslice with what the slice was made of: it makes what is lacking, on other nodes where one fails."""
    needs = Needs.from_json({name: said for name, said in found["needs"].items() if name != "digest"})
    file = SliceFile(found["name"], found["numnodes"], found["leaselen"], tuple(found["ips"]), needs)
    return Request("createslice", found["name"], file=file, agents=tuple(found["agents"]), replace=True)


def _delete(found: Found, form: Form) -> Request:
    if form.get("name", "").strip() != found["name"]:
        raise Refusal(Code.BAD_INPUT, f"nothing was deleted: type {found['name']} into the field to confirm")
    return Request("deleteslice", found["name"])


def _keys(verb: str) -> Callable[[Found, Form], Request]:
    def request(found: Found, form: Form) -> Request:
        from trust.keyfiles import parse_public_keys

        text = form.get("key", "").strip()
        if not text:
            raise Refusal(Code.BAD_INPUT, "no key was given: paste one, or name somebody whose keys plc has")
        return Request(verb, found["name"], keys=tuple(key.line for key in parse_public_keys(text.encode())))

    return request


def _at_nodes(verb: str) -> Callable[[Found, Form], Request]:
    """On the nodes that the form names; where it may mean all, on all that it fits."""

    def request(found: Found, form: Form) -> Request:
        chosen = nodes(form.get("node", "").split())
        every = bool(form.get("all"))
        if verb == "shrink" and not chosen:
            raise Refusal(Code.BAD_INPUT, "no node was chosen: tick those to give back; Delete gives back all")
        if verb in POWER and every == bool(chosen):
            raise Refusal(Code.BAD_INPUT, f"tick the nodes to {verb}, or all of them, not both; nothing was done")
        return Request(verb, found["name"], nodes=chosen)

    return request


def _plain(verb: str, **more: Any) -> Callable[[Found, Form], Request]:
    return lambda found, _form: Request(verb, found["name"], **more)


@dataclass(frozen=True, slots=True)
class Order:
    """A verb for single nodes: its button, the states that it fits, and what it takes away."""

    label: str
    states: tuple[str, ...]
    loses: str = ""


ORDERS = {
    verb: order
    for verb, order in {
        "newleases": Order("Redeem the ticket", ("ticketed",)),
        "newvms": Order("Make the VM", ("leased",)),
        "start": Order("Start", ("stopped",)),
        "stop": Order("Stop", ("running",)),
        "restart": Order("Restart", ("running",)),
        "reset": Order(
            "Reset", ("running", "stopped"), "Of each of these VMs everything but the slice's home is lost."
        ),
        "shrink": Order(
            "Give back", ("leased", "running", "stopped"), "The VMs there are deleted, with all that is in them."
        ),
    }.items()
    if verb in set(Verb) and Verb(verb) in USER_VERBS
}
"""By verb, of those that there are."""
POWER = ("start", "stop", "restart", "reset")
"""On nodes that are chosen, or on all where the form says so."""


def orders(state: str) -> list[dict[str, Any]]:
    """The buttons for a sliver in this state."""
    return [{"verb": verb, **asdict(order)} for verb, order in ORDERS.items() if state in order.states]


ACTIONS: dict[str, Callable[[Found, Form], Request]] = {
    "renewslice": _plain("renewslice"),
    "autorenew": _autorenew,
    "autorenew-off": _plain("autorenew", autorenew=False),
    "heal": _plain("heal", heal=True, standing_heal=True),
    "heal-off": _plain("heal", heal=False),
    "repair": _repair,
    **{verb: _at_nodes(verb) for verb in ORDERS},
    "addkey": _keys("addkey"),
    "delkey": _keys("delkey"),
    "nukekeys": _plain("nukekeys"),
    "rekey": _plain("rekey"),
    "delegate": lambda found, _form: Request("delegate", found["name"], standing_heal=found["heal"]),
    "undelegate": _plain("undelegate"),
    "deleteslice": _delete,
}
"""By the last part of the address that a form is sent to."""
