"""The global flags: they stand before the verb, as in 2003 (`svm -p 32 createslice F`), and are taken after it too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

PARALLELISM = 16
CONNECT_TIMEOUT = 10
"""Seconds."""
MOST_PARALLEL = 1024
LONGEST_CONNECT = 3600


class Whole(click.ParamType[int]):
    """A whole number from 1 to `most`."""

    name = "number"

    def __init__(self, most: int) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= self.most):
            self.fail(f"{text[:40]!a} is not a whole number from 1 to {self.most}", param, ctx)
        return int(text)


Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Flags:
    """What the flags say. Not frozen: a flag after the verb is read later than the same flag before it.

    `argv` is what the user typed after `svm`, for the retry command.
    """

    parallelism: int = PARALLELISM
    connect_timeout: int = CONNECT_TIMEOUT
    json: bool = False
    debug: bool = False
    verbose: bool = False
    argv: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The flags that are not at their defaults, as one types them."""
        words: list[str] = []
        if self.parallelism != PARALLELISM:
            words += ["-p", str(self.parallelism)]
        if self.connect_timeout != CONNECT_TIMEOUT:
            words += ["-t", str(self.connect_timeout)]
        return words


def flags(command: Command) -> Command:
    """Give a verb the global flags, hidden from its help."""
    return _options(command, hidden=True)


def group_flags(command: Command) -> Command:
    """The same for the group, shown in `svm --help`."""
    return _options(command, hidden=False)


def current() -> Flags:
    """The flags of the command that runs."""
    found = click.get_current_context().find_object(Flags)
    return found if found is not None else Flags()


def _options(command: Command, *, hidden: bool) -> Command:
    for words, settings in reversed(_FLAGS):
        how: dict[str, Any] = {"callback": _note, "expose_value": False, "default": None, "hidden": hidden}
        command = click.option(*words, **settings, **how)(command)
    return command


def _note(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None and parameter.name is not None:
        setattr(context.ensure_object(Flags), parameter.name, value)


_FLAGS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("-p", "parallelism"),
        {
            "type": Whole(MOST_PARALLEL),
            "metavar": "N",
            "help": f"Nodes worked on at once, 1 to {MOST_PARALLEL} (default {PARALLELISM}).",
        },
    ),
    (
        ("-t", "connect_timeout"),
        {
            "type": Whole(LONGEST_CONNECT),
            "metavar": "SECONDS",
            "help": f"Wait this long for a node's connection (default {CONNECT_TIMEOUT}; over 40 counts as 40).",
        },
    ),
    (("--json", "json"), {"is_flag": True, "help": "One JSON object a line on stdout."}),
    (
        ("-v", "verbose"),
        {"is_flag": True, "help": "Ids for the operator's logs; progress every 10 s where no terminal shows it."},
    ),
    (("--debug", "debug"), {"is_flag": True, "help": "Show where an error comes from."}),
)
