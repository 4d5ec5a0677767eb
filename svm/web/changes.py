"""What a button asks for: from a form to a request, by one table. Decides; `asking` does."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from svm.arguments import day
from svm.request import Request
from svm.slicefile import SliceFile
from svm.web.asking import Asking
from trust.errors import Code, Refusal

Form = Mapping[str, str]
Found = Mapping[str, Any]


def change(asking: Asking, name: str, action: str, form: Form) -> tuple[str, str]:
    """Do it; the operation and its verb. Raises Refusal, BAD_INPUT for what the form lacks."""
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
    return started.operation, request.verb


def _autorenew(found: Found, form: Form) -> Request:
    until = form.get("until", "").strip()
    end = day(until, datetime.fromisoformat(found["now"])) if until else None
    return Request("autorenew", found["name"], autorenew=True, until=end, standing_heal=found["heal"])


def _repair(found: Found, _form: Form) -> Request:
    """createslice with what the slice was made of: it makes what is lacking, on other nodes where one fails."""
    file = SliceFile(found["name"], found["numnodes"], found["leaselen"], tuple(found["ips"]))
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


def _plain(verb: str, **more: Any) -> Callable[[Found, Form], Request]:
    return lambda found, _form: Request(verb, found["name"], **more)


ACTIONS: dict[str, Callable[[Found, Form], Request]] = {
    "renewslice": _plain("renewslice"),
    "autorenew": _autorenew,
    "autorenew-off": _plain("autorenew", autorenew=False),
    "heal": _plain("heal", heal=True, standing_heal=True),
    "heal-off": _plain("heal", heal=False),
    "repair": _repair,
    "newleases": _plain("newleases"),
    "newvms": _plain("newvms"),
    "addkey": _keys("addkey"),
    "delkey": _keys("delkey"),
    "nukekeys": _plain("nukekeys"),
    "rekey": _plain("rekey"),
    "delegate": lambda found, _form: Request("delegate", found["name"], standing_heal=found["heal"]),
    "undelegate": _plain("undelegate"),
    "deleteslice": _delete,
}
"""By the last part of the address that a form is sent to."""
