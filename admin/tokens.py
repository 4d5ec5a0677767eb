"""Enrolment tokens as files, for a lab whose services share a folder with plc at their start (docker-compose.yml)."""

import re
from collections.abc import Sequence
from pathlib import Path

from plc.bootstrap import Bootstrap
from plc.enrolment import Enrolment
from plc.settings import Settings
from rpc.files import replace_file
from trust.errors import Code, Refusal
from trust.identity import Identity, Role

_ENROLMENT = re.compile(r"(agent|node|svm)=([a-z0-9.-]+)@([A-Za-z0-9.:,-]+)")


def write(folder: Path, words: Sequence[str]) -> list[Path]:
    """A token for each `ROLE=NAME@ADDRESS[,ADDRESS…]` into `folder/ROLE-NAME` (0600), and the root into `ca.pem`.

    Runs beside plc, with plc's own settings (environment). Refusal(BAD_INPUT) for a word that is not one.
    """
    enrolments = [_enrolment(word) for word in words]
    with Bootstrap.open(Settings.load()) as plc:
        made = plc.tokens(enrolments)
        root = plc.ca_pem
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(folder / "ca.pem", root.encode(), 0o644)
    written = []
    for enrolment, token in zip(enrolments, made, strict=True):
        written.append(folder / f"{enrolment.identity.role}-{enrolment.identity.name}")
        replace_file(written[-1], token.encode())
    return written


def _enrolment(word: str) -> Enrolment:
    found = _ENROLMENT.fullmatch(word)
    if found is None:
        raise Refusal(Code.BAD_INPUT, f"{word[:80]!r} is not ROLE=NAME@ADDRESS with ROLE agent, node or svm")
    return Enrolment(Identity(Role(found[1]), found[2]), tuple(found[3].split(",")))
