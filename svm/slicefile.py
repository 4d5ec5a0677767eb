"""The slice XML file of the 2003 howto, read strictly (docs/slice-file.md).

    <slice> <name>oceanstore</name> <numnodes>2</numnodes> <leaselen>1209600</leaselen> <ips>…</ips> </slice>

and, beyond 2003, what each sliver is to have: <memory>, <disk>, <processes>, <cpu> and <image>.

What arrives is a file that somebody typed or was sent, so its size is capped before a parser sees it, no DOCTYPE is
read, and the parser's events are checked as they come: no tree is ever built, however deep the file nests.

Strictly, where it could mean two things. Taken are an xmlns, blank lines before <?xml, commas between ips, and a node
that is listed twice, which is as preferred as where it stands first.
"""

import codecs
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trust.errors import Code, Refusal, printable
from trust.names import check_slice_name
from trust.needs import BOUNDS, IMAGE, NOTHING, Needs

MAX_BYTES = 65_536
MAX_LEASELEN = 1_209_600  # as trust.documents has it, which takes long to load
"""Seconds: two weeks, the howto's longest lease."""
MAX_NODES = 100_000

NEEDS = {"memory": "memory_mb", "disk": "disk_mb", "processes": "processes", "cpu": "cpu"}
_KNOWN = ("name", "numnodes", "leaselen", "ips", *NEEDS, "image")
_BETWEEN_IPS = re.compile(r"[\s,;]+")
_BEGINNING = re.compile(rb"(\xef\xbb\xbf)?\s*(<|$)")
_DECIMAL = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SliceFile:
    """What a slice asks for; `leaselen` in seconds, `ips` the preferred nodes in order (empty: the agent chooses).

    `needs`: what each sliver is to have; nothing: as the nodes have it.
    """

    name: str
    numnodes: int
    leaselen: int
    ips: tuple[str, ...] = ()
    needs: Needs = NOTHING

    def to_json(self) -> dict[str, object]:
        """All but its name, as svmd takes it; needs only where there are some, which an older svmd does not know."""
        asked = {"numnodes": self.numnodes, "leaselen": self.leaselen, "ips": list(self.ips)}
        return asked | ({"needs": self.needs.to_json()} if self.needs else {})


def read_slice_file(path: str, stdin: IO[bytes] | None = None) -> SliceFile:
    """The checked content of the file at `path`, `-` for `stdin`. Raises Refusal(BAD_INPUT)."""
    return parse_slice_file(_read(path, stdin), path)


def parse_slice_file(data: bytes, source: str = "slice file") -> SliceFile:
    """Check `data`, the bytes of a slice file; `source` names it in refusals. Raises Refusal(BAD_INPUT)."""
    try:
        return _checked(_elements(data))
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{source}: {refusal.reason}", **refusal.detail) from None


def _read(path: str, stdin: IO[bytes] | None) -> bytes:
    try:
        if path == "-" and stdin is not None:
            return stdin.read(MAX_BYTES + 1)
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _bad(
            f"{path}: cannot be read ({(error.strerror or 'unreadable').lower()}); give a slice XML file"
        ) from None


def _elements(data: bytes) -> dict[str, str]:
    if len(data) > MAX_BYTES:
        raise _bad(f"larger than {MAX_BYTES // 1024} KiB; a slice file holds a few short elements")
    if not _BEGINNING.match(data) and b"\0" not in data:
        raise _bad("no XML; a slice file begins with <slice> and holds <name>, <numnodes>, <leaselen> and <ips>")
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, ParseError

    target = _Target()
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    try:
        parser.feed(data.removeprefix(codecs.BOM_UTF8).lstrip())
        parser.close()
    except DefusedXmlException:
        raise _bad("a DOCTYPE or entity declaration is not allowed; remove it") from None
    except ParseError as error:
        line, column = error.position
        raise _bad(f"not well-formed XML at line {line}, column {column + 1}; correct it and try again") from None
    except (LookupError, ValueError):
        raise _bad("not in an encoding that XML knows; save it as UTF-8") from None
    return {name: "".join(parts).strip() for name, parts in target.found.items()}


class _Target:
    """Takes the parser's events; refuses at the first one that a slice file cannot have."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._namespace = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open:
            self._begin(tag)
        tag = tag.removeprefix(self._namespace)
        if attributes:
            raise _bad(f"<{printable(tag, 40)}> has an attribute; slice files have none")
        if not self._open:
            if tag != "slice":
                raise _bad(f"the outer element is <{printable(tag, 40)}>; it must be <slice>")
        elif len(self._open) > 1:
            raise _bad(f"<{printable(tag, 40)}> stands inside <{self._open[-1]}>, which holds text only")
        elif tag not in _KNOWN:
            raise _bad(f"unknown element <{printable(tag, 40)}>; known are {', '.join(_KNOWN)}")
        elif tag in self.found:
            raise _bad(f"<{tag}> stands there twice; keep one")
        else:
            self.found[tag] = []
        self._open.append(tag)

    def _begin(self, tag: str) -> None:
        """A namespace, when there is one, is that of the outer element."""
        namespace, brace, name = tag.rpartition("}")
        self._namespace = namespace + brace
        if name == "rspec":
            raise _bad("this is an rspec, of GENI; write a <slice> with <name>, <numnodes>, <leaselen> and <ips>")

    def end(self, _tag: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        if len(self._open) > 1:
            self.found[self._open[-1]].append(text)
        elif text.strip():
            raise _bad("text outside of the elements of <slice>; remove it")

    def close(self) -> None:
        """Nothing to hand over: `found` is read directly."""


def _checked(found: dict[str, str]) -> SliceFile:
    for required in ("name", "numnodes", "leaselen"):
        if required not in found:
            raise _bad(f"<{required}> is missing; add it")
    name = check_slice_name(found["name"])
    numnodes = positive("numnodes", found["numnodes"], MAX_NODES)
    leaselen = positive("leaselen", found["leaselen"], MAX_LEASELEN)
    ips = check_ips([word for word in _BETWEEN_IPS.split(found.get("ips", "")) if word])
    if ips and numnodes > len(ips):
        raise _bad(f"numnodes is {numnodes} but ips lists only {len(ips)}; list more or ask for fewer")
    return SliceFile(name, numnodes, leaselen, ips, needs_of(found))


def needs_of(found: Mapping[str, str]) -> Needs:
    """Of the elements that are there, and nothing else of them. Raises Refusal(BAD_INPUT)."""
    said: dict[str, object] = {}
    for element, name in NEEDS.items():
        if element in found:
            least, most = BOUNDS[name]
            said[name] = number = positive(element, found[element], most)
            if number < least:
                raise _bad(f"{element} is {number}; the least allowed is {least}")
    if "image" in found:
        if not IMAGE.fullmatch(found["image"]):
            raise _bad(f"image '{printable(found['image'], 40)}' is no image's name; svm getads --long shows them")
        said["image"] = found["image"]
    return Needs.from_json(said)


def positive(what: str, text: str, most: int) -> int:
    """`text` as a whole number from 1 to `most`, ASCII digits only. Raises Refusal(BAD_INPUT)."""
    if not _DECIMAL.fullmatch(text) or int(text) == 0:
        raise _bad(f"{what} must be a whole number above 0 in plain digits, not '{printable(text, 40)}'")
    if int(text) > most:
        raise _bad(f"{what} is {int(text)}; the most allowed is {most}")
    return int(text)


def check_ips(words: list[str]) -> tuple[str, ...]:
    """Each word as an IPv4 or IPv6 address in its usual form, once, order kept. Raises Refusal(BAD_INPUT)."""
    ips: dict[str, None] = {}
    for word in words:
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            raise _bad(f"'{printable(word, 40)}' in ips is not an IP address; correct it") from None
        if getattr(address, "scope_id", None):
            raise _bad(f"'{printable(word, 40)}' in ips names an interface; give the plain address")
        ips[str(address)] = None
    return tuple(ips)


def _bad(reason: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, reason)
