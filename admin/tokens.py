"""Enrolment tokens as files, for a lab whose services share a folder with plc at their start (docker-compose.yml)."""

import re
from collections.abc import Sequence
from pathlib import Path

from plc.bootstrap import Bootstrap
from plc.settings import Settings
from rpc.files import replace_file
from trust.errors import Code, Refusal
from trust.identity import Role

_PLACE = re.compile(r"(agent|node|svm)=([a-z0-9.-]+)@([A-Za-z0-9.:,-]+)")

Place = tuple[Role, str, Sequence[str]]


def write(folder: Path, words: Sequence[str]) -> list[Path]:
    """A token for each `ROLE=NAME@ADDRESS[,ADDRESS…]` into `folder/ROLE-NAME` (0600), and the root into `ca.pem`.

    Runs beside plc, with plc's own settings (environment). Refusal(BAD_INPUT) for a word that is no place.
    """
    places = [_place(word) for word in words]
    with Bootstrap.open(Settings.load()) as plc:
        made = plc.tokens(places)
        root = plc.ca_pem
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(folder / "ca.pem", root.encode(), 0o644)
    written = []
    for (role, name, _), token in zip(places, made, strict=True):
        written.append(folder / f"{role}-{name}")
        replace_file(written[-1], token.encode())
    return written


def _place(word: str) -> Place:
    found = _PLACE.fullmatch(word)
    if found is None:
        raise Refusal(Code.BAD_INPUT, f"{word[:80]!r} is not ROLE=NAME@ADDRESS with ROLE agent, node or svm")
    return Role(found[1]), found[2], found[3].split(",")
