"""Requests that no app should see: another's host, or text that no database takes.

Control characters in a path, a query or a header, and NUL in a body, are refused here, once for all services: behind
this they would be looked up, logged or stored, and PostgreSQL stores no NUL.
"""

import re
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from trust.errors import Code, Refusal

_PLAIN = bytes(byte for byte in range(256) if byte >= 0x20 and byte != 0x7F)
_IN_HEADER = _PLAIN + b"\t"
_HOST = re.compile(rb"[^\s,/@?#]+")
# In JSON \u0000 is NUL, and a backslash before it makes it a backslash and u0000.
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def check_head(scope: Scope) -> None:
    """Raises Refusal(BAD_INPUT) that says what is wrong with the request's path, query or headers."""
    if scope["path"].encode().translate(None, _PLAIN):
        raise _control_character("path")
    if unquote_to_bytes(scope["query_string"]).translate(None, _PLAIN):
        raise _control_character("query")
    hosts = []
    for name, value in scope["headers"]:
        if value.translate(None, _IN_HEADER):
            raise _control_character(f"header {name.decode('latin-1')}")
        if name == b"host":
            hosts.append(value)
    _check_host(hosts, scope["http_version"])


def check_body(body: bytes) -> None:
    """Raises Refusal(BAD_INPUT) if there is a NUL in it, as it is or as JSON writes it."""
    if b"\0" in body or (b"\\u0000" in body and _ESCAPED_NUL.search(body)):
        raise Refusal(Code.BAD_INPUT, "the body of the request holds a NUL character; send it as UTF-8 without one")


def _check_host(hosts: list[bytes], version: str) -> None:
    """RFC 9112, 3.2: exactly one, which HTTP/1.0 may leave out."""
    if not hosts and version == "1.0":
        return
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Refusal(
            Code.BAD_INPUT, f"a request has one header Host, and this one {len(hosts)} or a wrong one; send one"
        )


def _control_character(where: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, f"the {where} of the request holds a control character; leave it out")
