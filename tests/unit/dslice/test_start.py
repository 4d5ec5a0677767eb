"""What `import dslice` loads, and which names it has."""

import inspect
from typing import Any

import pytest

import dslice
from tests.unit.svm.test_start import HEAVY, UNUSED, modules_after

LATER = {
    *HEAVY,
    *UNUSED,
    "click",
    "subprocess",
    "shlex",
    "http.client",
    "concurrent.futures",
    "svm.client",
    "dslice.aio",
    "pandas",
}
SERVERS = {
    "celery",
    "sqlalchemy",
    "models.database",
    "lifecycle.operations",
    "svm.service",
    "tasks",
    "agent",
    "nodemgr",
}


def test_the_package_loads_little() -> None:
    found = modules_after("import dslice\ndslice.Slice")
    assert "dslice.slice" in found
    assert not found.intersection({*LATER, *SERVERS})


def test_asyncio_comes_with_its_names() -> None:
    found = modules_after("import dslice\ndslice.aio.Slice")
    assert "dslice.aio" in found
    assert not found.intersection({*HEAVY, *SERVERS} - {"ssl"})  # asyncio has it


def test_few_names_and_all_are_there() -> None:
    assert len(dslice.__all__) <= 25
    assert all(hasattr(dslice, name) for name in dslice.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        dslice.nonsense  # noqa: B018


def test_asyncio_has_the_same_names() -> None:
    assert set(dslice.aio.__all__) == {*dslice.__all__} - {"aio"}


@pytest.mark.parametrize("name", ["Slice", "Node", "Operation", "Results", "Tunnel", "Client"])
def test_asyncio_has_the_same_methods(name: str) -> None:
    other_words = {"Results": {"close"}, "Operation": {"check", "ended", "progress", "watch"}}.get(name, set())
    assert public(getattr(dslice, name)) - other_words <= public(getattr(dslice.aio, name)) | {"of"}


def public(kind: type[Any]) -> set[str]:
    return {found for found, value in inspect.getmembers(kind) if found[0] != "_" and callable(value)}


def test_everything_public_says_what_it_is() -> None:
    for name in dslice.__all__:
        kind = getattr(dslice, name)
        assert inspect.getdoc(kind), name
        if inspect.isclass(kind):
            silent = [word for word in public(kind) if not inspect.getdoc(getattr(kind, word))]
            assert silent == [], name
