"""Reading a document's claims strictly: exactly those that belong, each of exactly its type."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from trust.errors import Refusal
from trust.identity import Identity, Role
from trust.jws import DocumentType, malformed
from trust.names import check_slice_name
from trust.needs import Needs

# The end of year 9999, the last moment that a certificate can name (RFC 5280, 4.1.2.5).
LAST_MOMENT = 253_402_300_799
_JTI = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of one document; every reader raises Refusal(BAD_INPUT) for a value that does not fit."""

    document: DocumentType
    values: dict[str, Any]

    def require_exactly(self, names: Collection[str]) -> None:
        if self.values.keys() != set(names):
            raise malformed(self.document, f"must have the claims {', '.join(sorted(names))} and no others")

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self._wrong(name)
        return value

    def number(self, name: str, least: int, most: int) -> int:
        """A JSON integer; ``true`` and ``1.0`` are none."""
        value = self.values.get(name)
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(name)
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value

    def moment(self, name: str) -> datetime:
        """Seconds since 1970 (RFC 7519 NumericDate, whole ones only)."""
        return datetime.fromtimestamp(self.number(name, 0, LAST_MOMENT), UTC)

    def identity(self, name: str, *roles: Role) -> Identity:
        try:
            identity = Identity.parse(self.text(name))
        except Refusal as error:
            raise self._wrong(name) from error
        if identity.role not in roles:
            raise self._wrong(name)
        return identity

    def slice_name(self) -> str:
        try:
            return check_slice_name(self.text("slice"))
        except Refusal as error:
            raise self._wrong("slice") from error

    def slice_id(self) -> UUID:
        """A UUID as ``str(UUID)`` writes it, so that equal ids are equal texts."""
        text = self.text("slice_id")
        try:
            value = UUID(text)
        except ValueError as error:
            raise self._wrong("slice_id") from error
        if str(value) != text:
            raise self._wrong("slice_id")
        return value

    def jti(self) -> str:
        """The document's own id: 1 to 64 letters, digits, ``_`` and ``-``, since it stands in paths and rows."""
        value = self.text("jti")
        if not _JTI.fullmatch(value):
            raise self._wrong("jti")
        return value

    def needs(self) -> Needs:
        """What a slice needs; never nothing, for then the document is of the earlier type."""
        try:
            needs = Needs.from_json(self.values.get("needs"))
        except Refusal as error:
            raise self._wrong("needs") from error
        if not needs:
            raise self._wrong("needs")
        return needs

    def _wrong(self, name: str) -> Refusal:
        return malformed(self.document, f"has a wrong claim {name!r}")
