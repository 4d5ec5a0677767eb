"""The words on the command line: slice names, nodes in the howto's forms, dates, and what completion offers."""

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from svm.files import known_nodes, known_slices
from trust.errors import Code, Refusal
from trust.names import check_slice_name

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class SliceName(click.ParamType[str]):
    """A slice's name, checked; completed from the folders below the key directory, without asking anyone."""

    name = "slice"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        del param, ctx
        return check_slice_name(str(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        del ctx, param
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in known_slices(key_directory()) if name.startswith(incomplete)]


class SliceOrOperation(SliceName):
    """A slice's name, or an operation's id as `svm watch` was told to be given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value) if is_operation(str(value)) else super().convert(value, param, ctx)


def complete_nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Nodes of the slice that was typed before; where none was, slices (`svm ssh SLICE NODE`)."""
    words = [str(word) for word in ctx.params.get(param.name or "") or () if not str(word).startswith("-")]
    name = ctx.params.get("name") or (words.pop(0) if words else None)
    offered = known_slices(key_directory()) if name is None else known_nodes(key_directory(), name)
    return [each for each in offered if each.startswith(incomplete) and each not in words]


SLICE = SliceName()
SLICE_OR_OPERATION = SliceOrOperation()


def is_operation(text: str) -> bool:
    """Whether `text` is an operation's id, not a slice name."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def key_directory() -> Path:
    """As `Home.find`, without reading any settings."""
    return Path(os.environ.get("PLANETLAB_HOME") or "~/.planetlab").expanduser()


def nodes(words: Sequence[str]) -> tuple[str, ...]:
    """Addresses from `words`; empty means every node that waits.

    A path that ends in an IP means that IP, as the files of 2003 were named; one that ends in `tickets/*` or
    `leases/*`, which a shell leaves as it is when nothing matches, means all. Raises Refusal(BAD_INPUT).
    """
    found: list[str] = []
    for word in words:
        path = PurePosixPath(word)
        if path.name == "*" and path.parent.name in ("tickets", "leases", "vms"):
            return ()
        try:
            address = str(ipaddress.ip_address(path.name))
        except ValueError:
            raise Refusal(
                Code.BAD_INPUT, f"{word[:60]!a} is not a node: give its IP address or name, as svm status prints them"
            ) from None
        if address not in found:
            found.append(address)
    return tuple(found)


def past(text: str) -> datetime:
    """A date or time, as `day`; a date alone is its beginning. Raises Refusal(BAD_INPUT)."""
    words = text.strip()
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise Refusal(
            Code.BAD_INPUT, f"{words[:40]!a} is not a date; write it as 2026-12-24 or 2026-12-24T18:00"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def day(text: str, now: datetime) -> datetime:
    """A date or time to come (`2026-12-24`, `2026-12-24T18:00`), UTC if no zone is given; a date alone is its end.

    Raises Refusal(BAD_INPUT).
    """
    words, found = text.strip(), past(text)
    if len(words) <= len("2026-12-24"):
        found = found.replace(hour=23, minute=59, second=59)
    if found <= now:
        raise Refusal(Code.BAD_INPUT, f"{words[:40]} is in the past; give a later date")
    return found
