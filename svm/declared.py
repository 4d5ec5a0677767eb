"""dslice.toml: slices as they are to be (docs/declared.md), and what is to be done until they are. Reads files only."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from svm.columns import stamp
from svm.keyfiles import blob, key_lines
from svm.request import Request
from svm.slicefile import MAX_BYTES, NEEDS, SliceFile
from svm.wanted import has, wanted
from trust.errors import Code, Refusal, printable
from trust.needs import words

HOURS = 24
_KNOWN = ("nodes", "sites", "hours", "keys", "autorenew", "heal", "replace", "agents", "absent", *NEEDS, "image")


@dataclass(frozen=True, slots=True)
class Declared:
    """One slice of the file; None or empty for what it does not say, which is left as it is.

    Args:
        file: its nodes and the length of its leases; None: there is to be no such slice.
        sites: nodes of these only.
        keys: exactly these are to open it.
        autorenew: whether, or until when, svmd renews it.
    """

    name: str
    file: SliceFile | None
    sites: tuple[str, ...] = ()
    keys: tuple[str, ...] | None = None
    autorenew: bool | datetime | None = None
    heal: bool | None = None
    replace: bool = False
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One operation that brings a slice nearer to what it is to be; `sign` is + ~ or -, as in a diff."""

    sign: str
    text: str
    request: Request


def read(path: str) -> list[Declared]:
    """The slices of the file, in its order. Raises Refusal(BAD_INPUT) that names the file."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _bad(f"{path}: cannot be read ({(error.strerror or 'unreadable').lower()}); give a dslice.toml") from None
    try:
        return parse(data)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{path}: {refusal.reason}") from None


def parse(data: bytes) -> list[Declared]:
    """Of the file's bytes. Raises Refusal(BAD_INPUT)."""
    if len(data) > MAX_BYTES:
        raise _bad(f"larger than {MAX_BYTES // 1024} KiB; split it")
    try:
        told = tomllib.loads(data.decode())
    except ValueError as error:
        raise _bad(f"no TOML: {printable(str(error))}") from None
    slices = told.pop("slices", None)
    if told or not isinstance(slices, dict) or not slices:
        raise _bad("it holds tables [slices.NAME], and nothing else")
    return [_one(name, table) for name, table in slices.items()]


def _one(name: str, table: object) -> Declared:
    if not isinstance(table, dict):
        raise _bad(f"slices.{printable(name, 40)} is no table; write [slices.{printable(name, 40)}]")
    unknown = next((word for word in table if word not in _KNOWN), None)
    if unknown is not None:
        raise _bad(f"{name}: '{printable(unknown, 40)}' is not known; known are {', '.join(_KNOWN)}")
    try:
        return _checked(name, table)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{name}: {refusal.reason}") from None


def _checked(name: str, table: Mapping[str, Any]) -> Declared:
    taken = _Taken(table)
    if taken.of("absent", bool, False):
        return Declared(name, None)
    nodes = table.get("nodes")
    if isinstance(nodes, bool) or not isinstance(nodes, int | list):
        raise _bad("nodes is missing; give a number, or a list of addresses")
    if isinstance(nodes, list):
        taken.texts("nodes")
    keys = taken.texts("keys")
    until = table.get("autorenew")
    return Declared(
        name,
        wanted(name, nodes, taken.number("hours", HOURS), taken.needs()),
        sites=taken.texts("sites"),
        keys=key_lines(keys) if "keys" in table else None,
        autorenew=_end(until) if isinstance(until, date) else taken.of("autorenew", bool, None),
        heal=taken.of("heal", bool, None),
        replace=bool(taken.of("replace", bool, False)),
        agents=taken.texts("agents"),
    )


@dataclass(frozen=True, slots=True)
class _Taken:
    """Members of a table, of the kinds that they must have."""

    table: Mapping[str, Any]

    def of(self, word: str, kind: type[bool], default: bool | None) -> bool | None:
        value = self.table.get(word, default)
        if value is not None and not isinstance(value, kind):
            raise _bad(f"{word} must be true or false" + (", or a date" if word == "autorenew" else ""))
        return value

    def number(self, word: str, default: float) -> float:
        value = self.table.get(word, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise _bad(f"{word} must be a number above 0")
        return value

    def needs(self) -> dict[str, int | str]:
        return {word: self.table[word] for word in (*NEEDS, "image") if word in self.table}

    def texts(self, word: str) -> tuple[str, ...]:
        value = self.table.get(word, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _bad(f"{word} must be a list of texts")
        return tuple(value)


def _end(until: date) -> datetime:
    """A date alone is its end, in UTC, as with `svm autorenew --until`."""
    if not isinstance(until, datetime):
        return datetime.combine(until, time(23, 59, 59), UTC)
    return until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)


Sites = Callable[[], Mapping[str, str]]
"""Asks for the site of each node, by address."""


def changes(declared: Declared, found: Mapping[str, Any] | None, sites: Sites) -> list[Change]:
    """What is to be done until it is as declared. `found`: the body of `GET /slices/{name}`; None: there is none."""
    if declared.file is None:
        return [_change("-", "delete it", "deleteslice", declared)] if found is not None else []
    return [
        *_making(declared, declared.file, found, sites),
        *_opening(declared, set(found["keys"]) if found else set()),
        *_renewing(declared, found),
        *_healing(declared, found),
    ]


def _making(declared: Declared, file: SliceFile, found: Mapping[str, Any] | None, sites: Sites) -> Iterator[Change]:
    size = f"{file.numnodes} node{'s' if file.numnodes > 1 else ''}, leases of {file.leaselen / 3600:g} h"
    there = found or {"nodes": {}, "slivers": (), "numnodes": file.numnodes, "leaselen": file.leaselen}
    held = there["nodes"].get("running", 0) + there["nodes"].get("stopped", 0)
    if found is None:
        sign, text = "+", f"create it: {size}"
    elif (there["numnodes"], there["leaselen"]) != (file.numnodes, file.leaselen):
        sign, text = "~", f"make it {size} (it is {there['numnodes']}, {there['leaselen'] / 3600:g} h)"
    elif not has(found, file):
        sign, text = "~", f"have each VM have {words(file.needs.to_json())}"
    elif held < file.numnodes:
        sign, text = "~", f"make what is lacking: {held} of {file.numnodes} run"
    else:
        return
    if declared.sites:
        file = replace(file, ips=_of_sites(declared.sites, file, [each["node"] for each in there["slivers"]], sites()))
        text += f", of {', '.join(declared.sites)}"
    yield _change(sign, text, "createslice", declared, file=file, agents=declared.agents, replace=declared.replace)


def _of_sites(
    wanted_sites: Sequence[str], file: SliceFile, held: Sequence[str], site_of: Mapping[str, str]
) -> tuple[str, ...]:
    """The nodes that may be taken, those that the slice has first."""
    known = {site.casefold() for site in site_of.values()}
    for site in wanted_sites:
        if site.casefold() not in known:
            raise _bad(f"{file.name}: no node of the site {printable(site, 40)} is advertised; name another")
    mine = {site.casefold() for site in wanted_sites}
    of_these = [
        node for node, site in site_of.items() if site.casefold() in mine and (not file.ips or node in file.ips)
    ]
    found = tuple(dict.fromkeys([*held, *of_these]))
    if len(found) < file.numnodes:
        raise _bad(f"{file.name}: {file.numnodes} nodes asked for, and these sites have {len(found)}; ask for fewer")
    return found


def _opening(declared: Declared, there: set[str]) -> Iterator[Change]:
    if declared.keys is None:
        return
    mine, theirs = ({blob(key): key for key in keys} for keys in (declared.keys, there))
    new, old = (
        [keys[each] for each in keys if each not in others] for keys, others in ((mine, theirs), (theirs, mine))
    )
    for sign, verb, word, keys in (("+", "addkey", "let in", new), ("-", "delkey", "lock out", old)):
        if keys:
            named = ", ".join(sorted(_named(key) for key in keys))
            yield _change(sign, f"{word} {named}", verb, declared, keys=tuple(keys))


def _named(key: str) -> str:
    """By its comment, and a part of it."""
    words = key.split(maxsplit=2)
    return f"{words[0]} …{words[1][-8:]}" + (f" {printable(words[2], 60)}" if len(words) > 2 else "")


def _renewing(declared: Declared, found: Mapping[str, Any] | None) -> Iterator[Change]:
    now = (found["autorenew"], found["autorenew_until"]) if found else (False, None)
    on, until = declared.autorenew is not False, None
    if declared.autorenew is None:
        return
    if isinstance(declared.autorenew, datetime):
        until = declared.autorenew
    end = datetime.fromisoformat(now[1]) if now[1] else None
    if (on, until) == (now[0], end if now[0] else None):
        return
    text = f"autorenew {'on' if on else 'off'}{f' until {stamp(until)}' if until else ''}"
    heal = on and (declared.heal if declared.heal is not None else bool(found and found["heal"]))
    yield _change("~", text, "autorenew", declared, autorenew=on, until=until, standing_heal=heal)


def _healing(declared: Declared, found: Mapping[str, Any] | None) -> Iterator[Change]:
    if declared.heal is not None and declared.heal != bool(found and found["heal"]):
        text = f"heal {'on' if declared.heal else 'off'}"
        yield _change("~", text, "heal", declared, heal=declared.heal, standing_heal=declared.heal)


def _change(sign: str, text: str, verb: str, declared: Declared, **members: Any) -> Change:
    return Change(sign, f"{declared.name}: {text}", Request(verb, declared.name, **members))


def _bad(reason: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, reason)
