"""Files of SSH public keys as people have them: one `.pub`, or a group's `authorized_keys`, from any editor."""

import codecs

from trust.errors import Code, Refusal
from trust.sshkeys import PublicKey, check_form, parse_public_key

MAX_KEYS = 64
"""In one file, as many as svmd takes in one operation."""
MAX_BYTES = 256 * 1024

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def parse_public_keys(data: bytes) -> list[PublicKey]:
    """The keys in a file, each once, in their order; blank lines and comments (`#`) are passed over.

    All of them are good, or Refusal(BAD_INPUT) says in one line what is wrong with the first that is not.
    """
    if len(data) > MAX_BYTES:
        raise _bad(f"this file is larger than {MAX_BYTES // 1024} KiB; give the .pub file")
    text = _decoded(data)
    check_form(text)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    wanted = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not wanted:
        raise _bad("there is no SSH public key in this file; give the .pub file")
    alone = len(wanted) == 1
    found = {key.blob: key for key in (_parsed(line, None if alone else number) for number, line in wanted)}
    if len(found) > MAX_KEYS:
        raise _bad(f"this file has {len(found)} SSH public keys, {MAX_KEYS} are taken at once; split it")
    return list(found.values())


def _decoded(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data:
        raise _bad("this file is not UTF-8 text; save it as UTF-8, or give the .pub file as ssh-keygen wrote it")
    return data.decode(encoding, "replace")


def _parsed(line: str, number: int | None) -> PublicKey:
    try:
        return parse_public_key(line)
    except Refusal as refusal:
        where = f"line {number}: " if number is not None else ""
        raise _bad(f"{where}{refusal.reason}") from refusal


def _bad(reason: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, reason)
