"""Pages about 5,000 nodes and 100 slices, of plc, an agent and svmd that answer so: what they weigh and show."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.web.large import OPERATION, Client, Large, operators, users

MOST = 300_000
"""Bytes of a page."""
SCRIPT = 20_000
MANY = Large(5000, 100)
OF_A_SLICE = [
    "/slices",
    "/slices/big",
    "/slices/big?show=all",
    "/slices/big/history",
    "/nodes",
    "/nodes?site=Site+3",
    f"/operations/{OPERATION}",
    f"/operations/{OPERATION}?page=25",
]
OPERATORS = ["/nodes?only=silent", "/nodes?page=9", f"/nodes/n{MANY.nodes[-1]}", "/orphans", "/usage", "/usage?by=node"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A user's browser."""
    with users(MANY, tmp_path_factory.mktemp("user")) as found:
        yield found


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The operator's."""
    with operators(MANY, tmp_path_factory.mktemp("operator")) as found:
        yield found


def light(client: Client, path: str) -> None:
    status, text = client.get(path)
    assert status == 200
    assert len(text.encode()) <= MOST
    assert json.loads(client.get(f"{path}{'&' if '?' in path else '?'}format=json")[1])


@pytest.mark.parametrize("path", [*OF_A_SLICE, "/nodes?only=free"])
def test_a_page_about_very_many_is_light(client: Client, path: str) -> None:
    light(client, path)


@pytest.mark.parametrize("path", [*OF_A_SLICE, *OPERATORS])
def test_so_is_one_of_the_operators(operator: Client, path: str) -> None:
    light(operator, path)


def test_the_operators_lists_come_in_pages(operator: Client) -> None:
    assert "Page 1 of 25" in operator.get("/usage?by=node")[1]
    assert "Page 3 of 25" in operator.get("/usage?by=node&page=3")[1]
    assert len(re.findall(r'href="/nodes/n10', operator.get("/nodes?site=Site+3")[1])) == 200


def test_of_many_nodes_those_with_something_wrong_are_shown(client: Client) -> None:
    cells = re.findall(r'href="/nodes/([0-9.]+)"><b>', client.get("/slices/big")[1])
    assert set(cells) == MANY.bad
    rest = client.get("/slices/big?show=all")[1]
    assert "Page 1 of 25" in rest
    assert "5,000" in rest


def test_of_many_leases_those_alike_share_a_bar(client: Client) -> None:
    assert "4,960 nodes" in client.get("/slices/big")[1]


def test_the_failed_nodes_of_an_operation_come_first(client: Client) -> None:
    nodes = re.findall(r'<th scope="row"><a href="/nodes/([0-9.]+)"', client.get(f"/operations/{OPERATION}")[1])
    assert set(nodes[:40]) == MANY.bad


def test_the_script_is_small() -> None:
    static = Path(__file__).parents[3] / "svm" / "web" / "static"
    assert sum(path.stat().st_size for path in static.glob("*.js")) <= SCRIPT
