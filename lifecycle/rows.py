"""Values from rows: a dataclass spells its fields once, named as the columns."""

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import Row

T = TypeVar("T")


def of_row(made: type[T], row: Row[Any], **given: Any) -> T:
    """The value that a row holds. `given`: fields whose column has another name or another type."""
    names: Mapping[str, object] = made.__dataclass_fields__  # type: ignore[attr-defined]
    return made(**{name: given[name] if name in given else getattr(row, name) for name in names})
