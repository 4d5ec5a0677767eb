"""Bodies of `POST /operations`: what is wrong is one clear line; a member that says nothing stands with any verb."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from lifecycle.verbs import USER_VERBS
from rpc.problems import complaints
from svm.service.bodies import AnyBody

BODIES: TypeAdapter[Any] = TypeAdapter(AnyBody)
SPEC: dict[str, Any] = {"numnodes": 2, "leaselen": 60}
MAKE: dict[str, Any] = {"verb": "createslice", "slice": "demo"}
DIGEST = {"image": "bookworm", "digest": "ab" * 32}
BLANK: dict[str, Any] = {"spec": None, "nodes": [], "keys": None, "agents": [], "replace": False, "standing": None}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], f"body: its verb must be one of {' '.join(USER_VERBS)}"),
        ({"verb": ["clean"]}, f"body: its verb must be one of {' '.join(USER_VERBS)}"),
        ({"verb": "canary"}, f"body: its verb must be one of {' '.join(USER_VERBS)}"),
        ({"verb": "rekey"}, "rekey.slice: missing; give it"),
        ({"verb": "rekey", "slice": "demo", "nodes": ["1.2.3.4"]}, "rekey.nodes: not taken here; leave it out"),
        ({"verb": "addkey", "slice": "demo"}, "addkey.keys: missing; give it"),
        (MAKE | {"spec": SPEC | {"needs": {"memory": 1}}}, "createslice.spec.needs: needs have an unknown member"),
        (MAKE | {"spec": SPEC | {"needs": {"cpu": 0}}}, "createslice.spec.needs: cpu must be a whole number from 1"),
        (MAKE | {"spec": SPEC | {"needs": DIGEST}}, "createslice.spec.needs: which digest an image has is the agent"),
        ({"verb": "heal", "slice": "demo", "heal": True}, "heal: a standing delegation goes with heal true"),
    ],
)
def test_one_clear_line(body: object, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BODIES.validate_python(body)
    line = complaints([{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()])
    assert line.startswith(said[:190])
    assert "\n" not in line


def test_what_says_nothing_is_passed_over() -> None:
    body = BODIES.validate_python({"verb": "rekey", "slice": "demo", **BLANK})
    assert (body.verb, body.slice) == ("rekey", "demo")
