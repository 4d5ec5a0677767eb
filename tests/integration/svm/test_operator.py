"""What svmd tells its operator: of everybody's slices the same as their owners, and nobody else."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import Engine, text

from plc.client import PLC
from rpc.blocking import Connection
from svm.client import Svmd
from svm.flags import Flags
from svm.home import Home
from svm.service.api import create_app
from tests.integration.svm.conftest import Lab, Running, Svm
from trust.errors import Code, Refusal

ABOUT = {"name": "demo", "node": "127.0.1.1", "operation": "00000000-0000-0000-0000-000000000000"}


def operator(svmd: Running, lab: Lab) -> Connection:
    return svmd.connection(lab.credentials(PLC))


def read(connection: Connection, path: str) -> dict[str, Any]:
    found = connection.call("GET", path).body
    assert isinstance(found, dict)
    found.pop("now", None)
    return found


@pytest.fixture
def owner(svm: Svm, demo: Path, home: Path) -> Iterator[Svmd]:
    """Of a slice of three nodes."""
    assert svm("createslice", demo) == 0
    with closing(Svmd(Home.find(home), Flags())) as found:
        yield found


def test_every_route_of_the_operators_is_closed_to_a_pi(svmd: Running, lab: Lab) -> None:
    routes = [route for route in create_app(svmd.service).routes if isinstance(route, APIRoute)]
    calls = [(method, route.path) for route in routes if "/operator" in route.path for method in route.methods or ()]
    assert len(calls) > 7
    with svmd.connection(lab.user()) as connection:
        for method, path in calls:
            with pytest.raises(Refusal) as refused:
                connection.call(method, path.format(**ABOUT), {"nodes": ["n1"]} if method == "POST" else None)
            assert (path, refused.value.code) == (path, Code.NOT_ALLOWED)
    assert [call for call in calls if call[0] != "GET"] == [("POST", "/operator/looks")]


def test_svmd_looks_at_nodes_when_it_is_asked(owner: Svmd, svmd: Running, lab: Lab, database: Engine) -> None:
    """By name or address, those that it knows; not while a round is under way."""
    del owner
    svmd.worker.idle = True
    with operator(svmd, lab) as connection:
        asked = connection.call("POST", "/operator/looks", {"nodes": ["n1", "127.0.1.2", "n99"]})
        assert asked.status == 202
        assert asked.body == {"began": True, "nodes": ["127.0.1.1", "127.0.1.2"]}
        again = connection.call("POST", "/operator/looks", {"nodes": ["n1"]})
        assert again.body == {"began": False, "nodes": []}
        nobody = connection.call("POST", "/operator/looks", {"nodes": ["n99"]})
        assert nobody.body == {"began": True, "nodes": []}
    with database.connect() as found:
        rows = found.execute(text("SELECT actor, outcome FROM svm.operation WHERE verb = 'reconcile'")).all()
    assert rows == [("operator", None)]


def test_the_operator_is_told_what_the_owner_is(owner: Svmd, svmd: Running, lab: Lab) -> None:
    mine = owner.slice("demo")
    operation = mine["newest_operation"]
    with operator(svmd, lab) as connection:
        for path in ("/slices/demo", "/slices/demo/history", f"/operations/{operation}", "/doctor"):
            told = owner.get(path)
            told.pop("now", None)
            assert read(connection, f"/operator{path}") == told, path
        at_node = read(connection, "/operator/nodes/127.0.1.1")["slivers"]
        assert at_node == owner.get("/slivers", {"node": "127.0.1.1"})["slivers"]
        assert [(each["slice"], each["owner"]) for each in at_node] == [("demo", "pi@a.example")]
        events = [sent.event for sent in connection.stream(f"/operator/operations/{operation}/events")]
    assert (events[0], events[-1]) == ("started", "ended")


def test_the_past_of_a_slice_that_is_gone(owner: Svmd, svm: Svm, svmd: Running, lab: Lab) -> None:
    assert svm("deleteslice", "--yes", "demo") == 0
    with operator(svmd, lab) as connection:
        assert read(connection, "/operator/slices/demo/history")["events"][-1]["verb"] == "deleteslice"
        with pytest.raises(Refusal, match="no slice demo"):
            connection.call("GET", "/operator/slices/demo")
