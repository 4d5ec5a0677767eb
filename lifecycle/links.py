"""Links in letters: each extends one slice's leases, once, until the deadline that its letter told of.

A link names the letter's deadline and is marked by the key of `lifecycle/seal.py`. It is no permission by itself:
what it asks for is done by a standing delegation that the slice's owner gave to svmd.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from struct import Struct
from uuid import UUID

from sqlalchemy import Connection, text

from lifecycle.rows import of_row
from lifecycle.seal import Seal
from models.states import SliceState
from trust.identity import Identity

PATH = "/extend/"  # of the page that a link opens (`svm/service/links.py`)
LEASE = "lease"  # what the letters are about that have one
_SAID = Struct(">16sQB")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LOOK = text("""
    SELECT n.used_at, n.operation, x.name, x.owner, x.state, x.leaselen, now() AS now,
        CASE WHEN x.by_link_until > now() THEN x.by_link WHEN x.standing_until > now() THEN x.standing END AS permit,
        v.nodes, v.first_end
    FROM svm.notice n JOIN svm.slice x ON x.id = n.slice CROSS JOIN LATERAL (
        SELECT count(*) AS nodes, min(v.expires_at) AS first_end FROM svm.sliver v
        WHERE v.slice = x.id AND v.state IN ('leased', 'running', 'stopped') AND v.expires_at > now()) v
    WHERE n.slice = :slice AND n.about = 'lease' AND n.deadline = :deadline AND n.days = :days
""")
_USE = text("""
    UPDATE svm.notice SET used_at = now()
    WHERE slice = :slice AND about = 'lease' AND deadline = :deadline AND days = :days AND used_at IS NULL
    RETURNING used_at
""")
_ASKED = text("""
    UPDATE svm.notice SET operation = :operation
    WHERE slice = :slice AND about = 'lease' AND deadline = :deadline AND days = :days
""")


@dataclass(frozen=True, slots=True)
class Link:
    """Which letter it stands in: the slice's row, the deadline, how many days ahead it was told."""

    slice: UUID
    deadline: datetime
    days: int

    def signed(self, seal: Seal) -> str:
        """55 characters that may stand in a URL."""
        said = _SAID.pack(self.slice.bytes, (self.deadline - _EPOCH) // timedelta(microseconds=1), self.days)
        return urlsafe_b64encode(said + seal.mark(said)).decode().rstrip("=")

    @classmethod
    def read(cls, word: str, seal: Seal) -> "Link | None":
        """What was signed; None for everything else."""
        try:
            found = urlsafe_b64decode(word + "=" * (-len(word) % 4))
        except (Error, ValueError):
            return None
        said, mark = found[: _SAID.size], found[_SAID.size :]
        if len(said) < _SAID.size or not hmac.compare_digest(mark, seal.mark(said)):
            return None
        row, microseconds, days = _SAID.unpack(said)
        return cls(UUID(bytes=row), _EPOCH + timedelta(microseconds=microseconds), days)


@dataclass(frozen=True, slots=True)
class Offer:
    """How it stands with a link.

    Args:
        nodes: how many leases last still, until `first_end` at least.
        used_at: when it was used, and the `operation` that it began.
        permit: the owner's standing delegation; None: there is none any more.
    """

    name: str
    owner: Identity
    state: SliceState
    leaselen: int
    nodes: int
    first_end: datetime | None
    used_at: datetime | None
    operation: UUID | None
    permit: str | None = field(repr=False)
    now: datetime


def look(connection: Connection, link: Link) -> Offer | None:
    """None when nothing is known of that letter any more."""
    row = connection.execute(_LOOK, _this(link)).one_or_none()
    return of_row(Offer, row, owner=Identity.parse(row.owner), state=SliceState(row.state)) if row else None


def use(connection: Connection, link: Link) -> bool:
    """Whether this is the first time; whoever else uses it waits until this transaction has ended."""
    return connection.execute(_USE, _this(link)).one_or_none() is not None


def asked(connection: Connection, link: Link, operation: UUID) -> None:
    """Note what the link began."""
    connection.execute(_ASKED, {**_this(link), "operation": operation})


def _this(link: Link) -> dict[str, object]:
    return {"slice": link.slice, "deadline": link.deadline, "days": link.days}
