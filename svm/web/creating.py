"""A new slice: a form that is checked as it is typed, the nodes that it would take, and the file that it means."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from xml.sax.saxutils import escape

from svm.arguments import day
from svm.output import command
from svm.request import Request
from svm.slicefile import MAX_LEASELEN, MAX_NODES, NEEDS, SliceFile, check_ips, needs_of, parse_slice_file, positive
from svm.web.asking import Asking
from svm.web.pages import Page, Query
from trust.errors import Code, Refusal, printable
from trust.names import check_slice_name
from trust.needs import Needs

UNITS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
FIELDS = {
    "name": "",
    "numnodes": "4",
    "length": "14",
    "unit": "days",
    "ips": "",
    "agents": "",
    **dict.fromkeys((*NEEDS, "image"), ""),
    "mine": "",
    "key": "",
    "replace": "",
    "autorenew": "",
    "until": "",
}
"""What the form begins with."""
MOST_AGENTS = 16

NONE: tuple[str, ...] = ()
UNSAID: dict[str, Any] = {}
Value = TypeVar("Value")


@dataclass(slots=True)
class Wanted:
    """A filled form: `file` None while something is wrong, and `errors` says what, by field."""

    form: dict[str, str]
    file: SliceFile | None = None
    agents: tuple[str, ...] = ()
    until: datetime | None = None
    keys: tuple[str, ...] = ()
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def xml(self) -> str | None:
        """The slice file that is sent, as one would save it."""
        return xml(self.file) if self.file else None


def new(asking: Asking, query: Query) -> Page:
    """The form, as far as it is filled in; nothing is taken."""
    wanted = check(query, datetime.now(UTC))
    _refuse_one_that_is_there(asking, wanted)
    return _page(asking, wanted, shown=bool(query.get("name")))


def create(asking: Asking, form: Mapping[str, str]) -> str | Page:
    """Ask for it: the operation's page, or the form again with what is wrong. Raises Refusal."""
    wanted = check(form, datetime.now(UTC))
    _refuse_one_that_is_there(asking, wanted)
    if wanted.file is None:
        page = _page(asking, wanted, shown=True)
        return Page(page.template, page.data, 400)
    keys = wanted.keys + (asking.keys_of(asking.who) if form.get("mine") else ())
    renew = True if form.get("autorenew") else None
    started = asking.start(
        Request(
            "createslice",
            wanted.file.name,
            file=wanted.file,
            agents=wanted.agents,
            autorenew=renew,
            until=wanted.until,
            replace=bool(form.get("replace")),
        )
    )
    if keys:  # from now on they are wanted; nodes that are not ready yet get them last
        asking.start(Request("addkey", wanted.file.name, keys=tuple(dict.fromkeys(keys))))
    return f"/operations/{started.operation}"


def _refuse_one_that_is_there(asking: Asking, wanted: Wanted) -> None:
    """createslice would change it, and give back nodes that are too many."""
    if wanted.file is None:
        return
    with asking.svmd() as svmd:
        names = {found["name"] for found in svmd.slices()}
    if wanted.file.name in names:
        wanted.errors["name"] = f"you have a slice {wanted.file.name} already: its page renews, mends or deletes it"
        wanted.file = None


def check(given: Mapping[str, str], now: datetime) -> Wanted:
    """Each field by itself, so that all that is wrong is said at once. Pure."""
    form = {name: given.get(name, default if not given.get("numnodes") else "") for name, default in FIELDS.items()}
    wanted = Wanted(form)

    def tried(name: str, read: Callable[[], Value], otherwise: Value) -> Value:
        try:
            return read()
        except Refusal as refusal:
            wanted.errors[name] = refusal.reason
            return otherwise

    name = tried("name", lambda: check_slice_name(form["name"].strip()), "")
    count = tried("numnodes", lambda: positive("the number of nodes", form["numnodes"].strip(), MAX_NODES), 0)
    seconds = tried("length", lambda: _seconds(form), 0)
    ips = tried("ips", lambda: _ips(form["ips"], count), NONE)
    wanted.agents = tried("agents", lambda: _agents(form["agents"]), NONE)
    needs: dict[str, Any] = {}
    for each in (*NEEDS, "image"):
        needs |= tried(each, partial(_need, form, each), UNSAID)
    wanted.until = tried("until", lambda: _until(form, now), None)
    wanted.keys = tried("key", lambda: _keys(form["key"]), NONE)
    if not wanted.errors:
        wanted.file = parse_slice_file(xml(SliceFile(name, count, seconds, ips, Needs.from_json(needs))).encode())
    return wanted


def xml(file: SliceFile) -> str:
    """The slice file (docs/slice-file.md)."""
    lines = [
        "<slice>",
        f"  <name>{escape(file.name)}</name>",
        f"  <numnodes>{file.numnodes}</numnodes>",
        f"  <leaselen>{file.leaselen}</leaselen>",
        *([f"  <ips>{' '.join(file.ips)}</ips>"] if file.ips else []),
        *(f"  <{word}>{escape(value)}</{word}>" for word, value in _needs(file.needs).items()),
        "</slice>",
    ]
    return "\n".join(lines) + "\n"


def _page(asking: Asking, wanted: Wanted, *, shown: bool) -> Page:
    plan, refused = None, None
    if wanted.file is not None:
        body = {"slice": wanted.file.name, **wanted.file.to_json(), "agents": list(wanted.agents)}
        try:
            with asking.svmd() as svmd:
                plan = svmd.plan(body)
        except Refusal as refusal:
            refused = refusal.reason
    data: dict[str, Any] = {
        "form": wanted.form,
        "errors": wanted.errors if shown else {},
        "xml": wanted.xml,
        "plan": plan,
        "refused": refused,
        "units": list(UNITS),
        "images": asking.images(),
        "dry_run": _command(wanted, "--dry-run"),
        "command_line": _command(wanted),
        "needs_said": any(wanted.form[word] for word in (*NEEDS, "image", "agents")),
    }
    return Page("new.html", data)


def _seconds(form: Mapping[str, str]) -> int:
    unit = UNITS.get(form["unit"], 1)
    count = positive("the length", form["length"].strip(), MAX_LEASELEN)
    if count * unit > MAX_LEASELEN:
        raise Refusal(Code.BAD_INPUT, f"the longest lease is {MAX_LEASELEN // 86_400} days; ask for less")
    return count * unit


def _ips(text: str, count: int) -> tuple[str, ...]:
    found = check_ips(re.split(r"[\s,;]+", text.strip()) if text.strip() else [])
    if found and count > len(found):
        reason = f"{count} nodes are wanted but only {len(found)} listed; list more or ask for fewer"
        raise Refusal(Code.BAD_INPUT, reason)
    return found


def _agents(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(re.split(r"[\s,;]+", text.strip()))) if text.strip() else NONE
    if len(names) > MOST_AGENTS or any(len(name) > 64 for name in names):
        raise Refusal(Code.BAD_INPUT, f"at most {MOST_AGENTS} agents, by their names; list fewer")
    return names


def _need(form: Mapping[str, str], word: str) -> dict[str, Any]:
    """One of them; nothing where its field is empty."""
    text = form[word].strip()
    return needs_of({word: text}).to_json() if text else {}


def _needs(needs: Needs) -> dict[str, str]:
    """By the elements of the slice file."""
    said = needs.to_json()
    named = {word: said[member] for word, member in (NEEDS | {"image": "image"}).items() if member in said}
    return {word: str(value) for word, value in named.items()}


def _command(wanted: Wanted, *options: str) -> str:
    """What does the same in a terminal with the file."""
    agents = [word for name in wanted.agents for word in ("--agent", printable(name, 64))]
    more = [word for word in ("replace", "autorenew") if wanted.form[word] and not options]
    until = ["--until", wanted.form["until"].strip()] if wanted.until and not options else []
    flags = [*options, *agents, *(f"--{word}" for word in more), *until]
    return command("createslice", *flags, f"{wanted.form['name'].strip()}.xml")


def _until(form: Mapping[str, str], now: datetime) -> datetime | None:
    text = form["until"].strip()
    if text and not form["autorenew"]:
        raise Refusal(Code.BAD_INPUT, "this date says when autorenew ends; tick autorenew too")
    return day(text, now) if text else None


def _keys(text: str) -> tuple[str, ...]:
    from trust.keyfiles import parse_public_keys

    return tuple(key.line for key in parse_public_keys(text.encode())) if text.strip() else ()
