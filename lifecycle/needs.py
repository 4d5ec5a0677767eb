"""All slivers of a slice have the same needs, and the same image to the last byte."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from lifecycle.requests import SliceSpec
from trust.errors import Code, Refusal
from trust.needs import Needs


def refuse_other_needs(spec: SliceSpec, row: Row[Any], living: int) -> None:
    """A slice that holds nodes keeps what it was asked for with. Raises Refusal(BAD_INPUT)."""
    has = replace(Needs.from_json(row.needs), digest=None)
    if living and has != spec.needs:
        raise Refusal(
            Code.BAD_INPUT,
            f"{row.name} holds {living} nodes and was asked for with {has or 'no needs'}, not with"
            f" {spec.needs or 'none'}: use that file to go on, or svm deleteslice {row.name} first",
        )
