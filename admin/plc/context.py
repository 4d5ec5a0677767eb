"""What the verbs of `dslice plc` share: where they act, how they refuse, how they ask and print."""

import json
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from svm.exit_codes import status_of_refusal
from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from admin.plc.backend import Backend, LocalBackend

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


class Refused(click.ClickException):
    """A refusal with its exit status (docs/protocol.md, "The command line")."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.exit_code = status_of_refusal(refusal.code)  # type: ignore[misc]  # click reads it from here


class Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refusal as refusal:
            raise Refused(refusal) from refusal


@dataclass(frozen=True, slots=True)
class Context:
    """Where the verbs act; opened when one is used."""

    folder: Path | None
    as_me: bool

    def backend(self) -> "AbstractContextManager[Backend]":
        from admin.plc import backend

        return backend.member() if self.as_me else backend.operator(self.folder)

    def operator(self) -> "AbstractContextManager[LocalBackend]":
        from admin.plc import backend

        if self.as_me:
            raise Refusal(Code.BAD_INPUT, "only the operator does this, on plc's machine: leave --as-me out")
        return backend.operator(self.folder)


def row(fields: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(json.dumps({"type": "row", **fields}) if as_json else text)


def new_password() -> str:
    """Typed twice at a terminal, else a line of stdin."""
    return ask_password("new password", twice=True)


def ask_password(what: str, *, twice: bool = False) -> str:
    """Typed without being seen, else a line of stdin. Refusal(BAD_INPUT) when there is none."""
    if sys.stdin.isatty():
        typed: str = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
        return typed
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise Refusal(Code.BAD_INPUT, f"no {what} on stdin: give one a line")
    return line
