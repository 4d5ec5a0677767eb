"""Values from rows: a dataclass spells its fields once, named as the columns."""

from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Row

T = TypeVar("T")


def of_row(made: type[T], row: Row[Any], **given: Any) -> T:
    """The value that a row holds. `given`: fields whose column has another name or another type."""
    names = (field.name for field in fields(made))  # type: ignore[arg-type]
    return made(**{name: given[name] if name in given else getattr(row, name) for name in names})
