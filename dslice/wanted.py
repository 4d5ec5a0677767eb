"""What a slice is to be: nodes, length of its leases, keys; checked as the slice file is."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trust.errors import Code, Refusal

if TYPE_CHECKING:
    from svm.slicefile import SliceFile

Keys = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Public keys: files, or the keys themselves, a line each."""
_TYPES = ("ssh-", "ecdsa-", "sk-")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What createslice is asked for; `leaselen` in seconds, `ips` the nodes to choose from (empty: the agent's)."""

    name: str
    numnodes: int
    leaselen: int
    ips: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, nodes: int | Sequence[str], hours: float) -> "Wanted":
        """Raises Refusal(BAD_INPUT)."""
        from svm.slicefile import MAX_LEASELEN, MAX_NODES, check_ips, positive
        from trust.names import check_slice_name

        check_slice_name(name)
        if isinstance(nodes, str):
            raise Refusal(Code.BAD_INPUT, "nodes is a text; give a number, or a list of addresses")
        ips = () if isinstance(nodes, int) else check_ips(list(nodes))
        number = nodes if isinstance(nodes, int) else len(ips)
        leaselen = positive("the length of a lease in seconds", str(round(hours * 3600)), MAX_LEASELEN)
        return cls(name, positive("nodes", str(number), MAX_NODES), leaselen, ips)

    def file(self) -> "SliceFile":
        """As the slice file says it."""
        from svm.slicefile import SliceFile

        return SliceFile(self.name, self.numnodes, self.leaselen, self.ips)


def key_lines(keys: Keys) -> tuple[str, ...]:
    """Each key as one clean line. Raises Refusal(BAD_INPUT)."""
    found: list[str] = []
    for each in _each(keys):
        if _is_key(each):
            from trust.keyfiles import parse_public_keys

            found += [key.line for key in parse_public_keys(each.encode())]
        else:
            from svm.keyfiles import read_keys

            found += read_keys(str(Path(each).expanduser()))
    return tuple(dict.fromkeys(found))


def identity_of(keys: Keys) -> str | None:
    """The private key beside the first file of public keys that has one."""
    for each in _each(keys):
        if not _is_key(each) and each.endswith(".pub"):
            private = Path(each).expanduser().with_suffix("")
            if private.is_file():
                return str(private)
    return None


def _each(keys: Keys) -> list[str]:
    given = [keys] if isinstance(keys, str | os.PathLike) else keys
    return [os.fspath(each) for each in given]


def _is_key(text: str) -> bool:
    return text.startswith(_TYPES) and " " in text
