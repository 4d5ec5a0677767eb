"""What the command line asks of svmd: the body of `POST /operations` (docs/svmd.md)."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from svm.flags import Flags

if TYPE_CHECKING:
    from svm.slicefile import SliceFile


@dataclass(frozen=True, slots=True)
class Request:
    """One operation to ask for; the fields are those of docs/svmd.md, with None or empty for what is not said.

    `slice` is empty for `clean` only, which is about all slices of the caller. `standing_heal`: a standing delegation
    that goes along is to cover healing.
    """

    verb: str
    slice: str = ""
    file: "SliceFile | None" = None
    nodes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    autorenew: bool | None = None
    until: datetime | None = None
    heal: bool | None = None
    replace: bool = False
    standing_heal: bool = False

    @property
    def needs_standing(self) -> bool:
        """Whether svmd is to act later by itself, so that a standing delegation goes with the request."""
        return self.verb == "delegate" or self.autorenew is True or self.heal is True

    @property
    def makes_leases(self) -> bool:
        """Whether a letter will tell of their end, with a link for which svmd needs a standing delegation."""
        return self.verb in ("createslice", "renewslice") and not self.needs_standing

    def to_json(self, flags: Flags, standing: str | None) -> dict[str, object]:
        """The body. `standing` is the signed standing delegation."""
        body: dict[str, object] = {
            "verb": self.verb,
            "slice": self.slice,
            "parallelism": flags.parallelism,
            "connect_timeout": flags.connect_timeout,
        }
        optional: dict[str, object] = {
            "spec": self.spec(),
            "nodes": list(self.nodes),
            "keys": list(self.keys),
            "agents": list(self.agents),
            "autorenew": self.autorenew,
            "until": self.until and self.until.isoformat(),
            "heal": self.heal,
            "replace": self.replace,
            "standing": standing,
        }
        # autorenew and heal are said when false, too: that is `off`.
        return body | {name: value for name, value in optional.items() if value is not None and value != []}

    def spec(self) -> dict[str, object] | None:
        """The slice file without its name."""
        if self.file is None:
            return None
        return self.file.to_json()
