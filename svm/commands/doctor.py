"""doctor: whether one's own setup and slices are well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from svm.exit_codes import DONE, FAILED
from svm.flags import current, flags
from svm.output import json_line, line
from svm.session import connect
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from svm.checks import Check


@click.command()
@flags
def doctor() -> int:
    """Look for what is wrong with your setup and your slices.

    One line for each thing it looks at, with what to do where it is not well; exit status 1 if anything is not.
    """
    as_json = current().json
    found: list[Check] = []
    for check in _examine():
        found.append(check)
        if as_json:
            json_line("row", asdict(check))
        else:
            line(check.line())
    failed = sum(not check.ok for check in found)
    status = FAILED if failed else DONE
    if as_json:
        json_line("summary", {"operation": None, "ok": len(found) - failed, "failed": failed, "exit": status})
    return status


def _examine() -> Iterator[Check]:
    from svm import checks
    from svm.health import Around
    from svm.home import Home
    from trust.clock import system_clock

    home, clock = Home.find(), system_clock()
    try:
        home.check()
        if not home.credentials.exists():
            home.require_certificate()
        own = home.credentials
        yield checks.certificate(own.identity.name, own.certificate.not_valid_after_utc, clock.now())
        svmd = connect()
    except Refusal as refusal:
        if refusal.code is not Code.NOT_AUTHENTICATED or not home.credentials.exists():
            yield checks.Check(False, "key and certificate", refusal.reason)
        return  # without a certificate that is good nobody talks to us
    before = clock.now()
    try:
        told = svmd.doctor()
    except Refusal as refusal:
        yield checks.Check(False, "svmd", refusal.reason)
        return
    after = clock.now()
    yield checks.Check(True, "svmd answers")
    now = datetime.fromisoformat(told["now"])
    yield checks.clock(now, before, after)
    yield from checks.agents(told["agents"])
    yield from checks.roles(told.get("roles", ()))
    around = Around(now, own.certificate.not_valid_after_utc, told.get("roles", ()))
    yield from checks.slices(told["slices"], told["troubles"], around)
