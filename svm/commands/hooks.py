"""hook: a URL that is told of what happens to a slice (docs/letters.md, "Hooks")."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from models.states import HookState
from svm.arguments import SLICE
from svm.columns import stamp, table
from svm.exit_codes import FAILED
from svm.flags import current, flags
from svm.output import json_line, line, say
from svm.session import connect
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from svm.client import Svmd

STATES = tuple(map(str, HookState))
TEST_SECONDS = 60  # for a test to arrive, before its user is told where to look


@click.command()
@click.argument("name", type=SLICE, metavar="SLICE")
@click.argument("what", type=click.Choice(["add", "list", "remove", "test"]))
@click.argument("url", required=False)
@click.option("--on", "states", metavar="STATE,…", help=f"With add: of what, {','.join(STATES)} (all of them).")
@flags
def hook(name: str, what: str, url: str | None, states: str | None) -> int | None:
    """Have a URL told of what happens to a slice.

    add prints the secret by which the receiver knows that it is svmd who calls. Adding a URL again gives it a new one.
    test sends something that did not happen. list shows what each URL was last told, and what came of it.
    """
    if (url is None) is not (what == "list"):
        raise click.UsageError("list takes no URL" if url else f"{what} needs a URL")
    if states is not None and what != "add":
        raise click.UsageError("--on goes with add")
    wanted = _states(states) if what == "add" else ()
    svmd = connect()
    if url is None:
        _list(svmd, name)
    elif what == "add":
        _added(svmd.put_hook(name, url, wanted))
    elif what == "remove":
        svmd.remove_hook(name, url)
        _done({"url": url, "removed": True}, f"{url} is told nothing any more")
    else:
        return _test(svmd, name, url)
    return None


def _states(text: str | None) -> tuple[str, ...]:
    """Those of a list with commas; all where none is given. Raises Refusal(BAD_INPUT)."""
    words, known = [word.strip() for word in text.split(",")] if text is not None else list(STATES), ",".join(STATES)
    for word in words:
        if word not in STATES:
            raise Refusal(Code.BAD_INPUT, f"{word[:40]!a} is nothing that a hook is told of; give some of {known}")
    return tuple(dict.fromkeys(words))


def _list(svmd: "Svmd", name: str) -> None:
    found = svmd.hooks(name)
    if current().json:
        for each in found:
            json_line("row", each)
        return
    if not found:
        line(f"{name} has no hooks; add one with: svm hook {name} add URL")
        return
    rows = [(each["url"], ",".join(each["states"]), _last(each["last"])) for each in found]
    table(("URL", "TOLD OF", "LAST"), rows)


def _last(last: Mapping[str, Any] | None) -> str:
    """What became of it."""
    if last is None:
        return "nothing yet"
    about, at = last["about"], stamp(datetime.fromisoformat(last["sent_at"] or last["given_up_at"] or last["at"]))
    if last["sent_at"]:
        return f"{about}: {last['status']} at {at}"
    if last["given_up_at"]:
        return f"{about}: given up at {at}, {last['last_error']}"
    again = stamp(datetime.fromisoformat(last["next_try_at"]))
    return f"{about}: {last['last_error'] or 'waits'}, next try {again}"


def _added(made: Mapping[str, Any]) -> None:
    if current().json:
        json_line("row", made)
        return
    line(made["secret"])
    say("This secret is shown once. The receiver checks the header webhook-signature with it.")


def _test(svmd: "Svmd", name: str, url: str) -> int | None:
    """Have it told, and wait until something has come of that."""
    delivery, end = svmd.test_hook(name, url), time.monotonic() + TEST_SECONDS
    while time.monotonic() < end:
        for last in (each["last"] for each in svmd.hooks(name) if each["last"]):
            if last["delivery"] != delivery or not (last["sent_at"] or last["last_error"]):
                continue
            if last["sent_at"]:
                _done({"url": url, "ok": True, "status": last["status"]}, f"Success on {url}: {last['status']}")
                return None
            _done({"url": url, "ok": False, "reason": last["last_error"]}, f"Error on {url}: {last['last_error']}")
            return FAILED
        time.sleep(1)
    raise Refusal(Code.TIMEOUT, f"nothing has come of it within {TEST_SECONDS} s; see: svm hook {name} list")


def _done(fields: Mapping[str, object], text: str) -> None:
    if current().json:
        json_line("row", fields)
    else:
        line(text)
