"""What an owner lets svmd do for a slice: the delegations that it keeps, and until when it renews by itself."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, text, update

from lifecycle.requests import Given, OperationRequest
from models import svm
from trust.errors import Code, Refusal

KEPT = ("working", "standing", "by_link")
"""Delegations of a slice, each a column with the time of its end in `…_until`."""


def keep_delegations(connection: Connection, request: OperationRequest, row: Row[Any]) -> None:
    """Those that came with the request, in the place of older ones. Raises Refusal(NOT_ALLOWED) for a withdrawn one."""
    values: dict[str, Any] = {}
    for name in KEPT:
        given: Given | None = getattr(request, name)
        if given is not None:
            _refuse_withdrawn(given, row)
            values |= {name: given.token, f"{name}_until": given.expires_at}
    if request.standing is not None:
        values["standing_heals"] = request.standing.heal
    if values:
        connection.execute(update(svm.slice_table).where(svm.slice_table.c.id == row.id).values(**values))


def _refuse_withdrawn(given: Given, row: Row[Any]) -> None:
    # A delegation's times have whole seconds: one signed in the very second of the withdrawal is not older.
    if row.refused_before is not None and given.issued_at < row.refused_before.replace(microsecond=0):
        raise Refusal(Code.NOT_ALLOWED, f"that delegation of {row.name} was withdrawn (svm undelegate): sign a new one")


def set_autorenew(connection: Connection, request: OperationRequest, slice_row: UUID) -> None:
    """As the request says, if it says anything. Raises Refusal(BAD_INPUT) without a standing delegation."""
    if request.autorenew is None:
        return
    table = svm.slice_table
    if request.autorenew and not connection.scalar(
        select(table.c.standing_until > text("now()")).where(table.c.id == slice_row)
    ):
        raise Refusal(
            Code.BAD_INPUT, f"autorenew needs a standing delegation: svm autorenew {request.slice} on signs one"
        )
    values = {"autorenew": request.autorenew, "autorenew_until": request.until if request.autorenew else None}
    connection.execute(update(table).where(table.c.id == slice_row).values(**values))


def autorenews(connection: Connection, request: OperationRequest, slice_row: UUID) -> str:
    """Until when it really does: the standing delegation may end before the date that was asked for."""
    table = svm.slice_table
    standing = connection.execute(select(table.c.standing_until).where(table.c.id == slice_row)).scalar_one()
    if request.until is None or request.until <= standing:
        return f"autorenew on until {_stamp(request.until or standing)}"
    longer = f"plkeygen --renew and then svm delegate {request.slice} extend it to {_stamp(request.until)} at most"
    return f"autorenew on until {_stamp(standing)}, when your certificate ends: {longer}"


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
