"""What a slice wants each of its slivers to have; what it does not say is as the node has it.

Nothing but Python: the command line loads this at its start.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from trust.errors import Code, Refusal, printable

BOUNDS = {"memory_mb": (16, 2**24), "disk_mb": (16, 2**24), "processes": (8, 2**20), "cpu": (1, 10_000)}
"""The least and the most of each."""
ORDINARY_CPU = 100
IMAGE, DIGEST = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$"), re.compile(r"^[0-9a-f]{64}$")
_TEXTS = {"image": (IMAGE, "1 to 63 of a-z, 0-9, '.', '_' and '-'"), "digest": (DIGEST, "64 hexadecimal digits")}


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one sliver; None where the node's own counts. False in a condition when nothing is said.

    Args:
        memory_mb, disk_mb: MiB that it may use.
        processes: processes and threads at once.
        cpu: weight against other slivers, 100 being an ordinary one's.
        image: name of its root file system; `digest`: of that image's content, SHA-256 in hexadecimal.
    """

    memory_mb: int | None = None
    disk_mb: int | None = None
    processes: int | None = None
    cpu: int | None = None
    image: str | None = None
    digest: str | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in NAMES)

    def __str__(self) -> str:
        return words(self.to_json())

    def of_digest(self, digest: str | None) -> Self:
        """With this digest where an image is needed and none is chosen yet."""
        return self if self.image is None or self.digest is not None else replace(self, digest=digest)

    def to_json(self) -> dict[str, Any]:
        """Only what it says."""
        return {name: said for name in NAMES if (said := getattr(self, name)) is not None}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Inverse of `to_json`, strictly. Raises Refusal(BAD_INPUT)."""
        if not isinstance(value, Mapping):
            raise _bad("needs are no object; send one with what the slice needs")
        for name, said in value.items():
            _check(name, said)
        if "digest" in value and "image" not in value:
            raise _bad("needs name a digest and no image; name both")
        return cls(**value)


NAMES = tuple(field.name for field in fields(Needs))
NOTHING = Needs()


def words(needs: Mapping[str, Any]) -> str:
    """What `to_json` said, for people: `memory 4,096 MiB, image bookworm`; what is not known here is left out."""
    said = {name: needs[name] for name in ("memory_mb", "disk_mb", "processes", "cpu", "image") if name in needs}
    each = {name: f"{value:,}" if isinstance(value, int) else printable(str(value), 63) for name, value in said.items()}
    return ", ".join(
        f"{name.removesuffix('_mb')} {text}{' MiB' if name.endswith('_mb') else ''}" for name, text in each.items()
    )


def needed(value: object) -> Needs:
    """`Needs.from_json` for a body's member. Raises ValueError."""
    try:
        return value if isinstance(value, Needs) else Needs.from_json(value)
    except Refusal as refusal:
        raise ValueError(refusal.reason) from refusal


def _check(name: object, said: object) -> None:
    if name in BOUNDS:
        least, most = BOUNDS[str(name)]
        if type(said) is not int or not least <= said <= most:
            raise _bad(f"{name} must be a whole number from {least} to {most}")
    elif name not in _TEXTS:
        raise _bad(f"needs have an unknown member '{printable(str(name), 40)}'; known are {', '.join(NAMES)}")
    elif not isinstance(said, str) or not _TEXTS[str(name)][0].fullmatch(said):
        raise _bad(f"{name} must be {_TEXTS[str(name)][1]}, not '{printable(str(said), 40)}'")


def _bad(reason: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, reason)
