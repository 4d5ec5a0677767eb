"""A slice through a svmd that answers by itself (tests/unit/svm/answering.py)."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dslice
from tests.unit.svm import answering


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("svmd")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[dslice.Client]:
    with answering.answering(folder) as home, dslice.connect(home, plc=answering.PLC) as made:
        yield made


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What the next operation will tell."""
    found: list[dict[str, object]] = []
    monkeypatch.setattr(answering.Svmd, "events", found)
    return found


def node(address: str, ok: bool, **more: object) -> dict[str, object]:
    return {"type": "node", "node": address, "ok": ok, "kind": "newvms", **more}


def test_what_is_complete_is_joined(client: dslice.Client) -> None:
    slice = dslice.Slice("demo", nodes=8, hours=1, keep=True, client=client)
    with slice as s:
        assert [str(each) for each in s.nodes()] == answering.NODES
        assert str(s.status()) == "demo: open, 8 of 8 running"
        assert s["10.0.0.3"].state == "running"
        with pytest.raises(dslice.Error, match=r"10.9.9.9 is not a node of demo; nodes\(\) lists them") as caught:
            s["10.9.9.9"]
    assert caught.value.advice == "nodes() lists them"


def test_a_slice_that_was_there_lets_the_keys_in(client: dslice.Client, events: list[dict[str, object]]) -> None:
    events.append({"type": "ended", "detail": {"outcome": "failed", "code": "busy", "reason": "so it was asked for"}})
    slice = dslice.Slice("demo", keys=answering.KEY, client=client)
    with pytest.raises(dslice.OperationFailed, match="addkey demo: so it was asked for"), slice:
        pass


def test_a_stopped_vm_is_no_lacking_one(client: dslice.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {**answering.ANSWERS["/slices/demo"], "nodes": {"running": 7, "stopped": 1}}
    monkeypatch.setitem(answering.ANSWERS, "/slices/demo", told)
    slice = dslice.Slice("demo", nodes=8, hours=1, client=client)
    assert slice._joined_or_begun()[1] is None
    assert not slice.status().complete


def test_an_operation_and_its_events(client: dslice.Client) -> None:
    operation = dslice.Slice("demo", client=client).add_key(answering.KEY)
    assert (operation.id, operation.verb, operation.slice, operation.outcome) == ("7", "addkey", "demo", "done")
    assert operation.nodes == answering.NODES
    told = list(operation.watch())
    assert [event.type for event in told] == ["started", *["node"] * 8, "ended"]
    assert str(told[1]) == "2026-01-01 00:00:00 UTC addkey 10.0.0.1 newvms ok"


def test_some_nodes_fail(client: dslice.Client, events: list[dict[str, object]]) -> None:
    events += [
        {"type": "started", "detail": {"nodes": 3}},
        node("10.0.0.1", True),
        node("10.0.0.2", False, code="over-capacity", reason="full; another"),
        node("10.0.0.9", False, code="unreachable", reason="gone", detail={"replaced": True}),
        {"type": "ended", "detail": {"outcome": "partial"}},
    ]
    slice = dslice.Slice("demo", client=client)
    with pytest.raises(dslice.PartialFailure) as caught:
        slice.vms()
    failure = caught.value
    assert failure.nodes == ("10.0.0.1",)
    assert failure.failures == (dslice.Failure("10.0.0.2", "newvms", "over-capacity", "full; another"),)
    assert (failure.code, failure.advice) == ("over-capacity", "retry() does what is not done yet")
    assert str(failure).startswith("newvms demo: 1 ok · 1 failed: 1 over capacity; ")
    assert "<td>full; another</td>" in failure.operation._repr_html_()
    with pytest.raises(dslice.PartialFailure):
        failure.retry()
    events[1:] = [node("10.0.0.1", True), node("10.0.0.2", True), {"type": "ended", "detail": {"outcome": "done"}}]
    assert failure.retry().nodes == ["10.0.0.1", "10.0.0.2"]


def test_no_node_succeeds(client: dslice.Client, events: list[dict[str, object]]) -> None:
    events += [
        node("10.0.0.2", False, code="timeout", reason="slow"),
        {"type": "ended", "detail": {"outcome": "failed"}},
    ]
    with pytest.raises(dslice.OperationFailed) as caught:
        dslice.Slice("demo", client=client).renew()
    assert not isinstance(caught.value, dslice.PartialFailure)
    assert (caught.value.nodes, caught.value.code) == ((), "timeout")


def test_an_operation_that_is_refused_as_a_whole(client: dslice.Client, events: list[dict[str, object]]) -> None:
    detail = {"outcome": "failed", "code": "too-few-nodes", "reason": "too few nodes: 9 asked for; ask for fewer"}
    events.append({"type": "ended", "detail": detail})
    with pytest.raises(dslice.OperationFailed, match="createslice demo: too few nodes") as caught:
        dslice.Slice("demo", nodes=9, client=client).create()
    assert (caught.value.code, caught.value.advice) == ("too-few-nodes", "ask for fewer")


def test_who_asked_elsewhere_cannot_ask_again(client: dslice.Client, events: list[dict[str, object]]) -> None:
    events += [node("10.0.0.2", False), {"type": "ended", "detail": {"outcome": "cancelled"}}]
    operation = dslice.Operation(client, "7", "createslice", "demo")
    with pytest.raises(dslice.OperationFailed) as caught:
        operation.wait()
    assert caught.value.code == "cancelled"
    with pytest.raises(dslice.Error, match="was asked for elsewhere; call the slice's method for it"):
        caught.value.retry()


def test_a_slice_as_a_table(client: dslice.Client) -> None:
    html = dslice.Slice("demo", client=client)._repr_html_()
    assert html.count("<tr>") == 9
    assert "<b>demo: open, 8 of 8 running</b>" in html
    assert "<script" not in dslice.Operation(client, "7", "createslice", "<script>")._repr_html_()


def test_rows_for_pandas(client: dslice.Client) -> None:
    pandas = pytest.importorskip("pandas")
    found = dslice.Slice("demo", client=client).to_pandas()
    assert list(found.columns) == ["node", "name", "state", "ends", "error"]
    assert list(found["node"]) == answering.NODES
    assert isinstance(found, pandas.DataFrame)


def test_without_pandas(client: dslice.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(dslice.Error, match="pandas is not installed; pip install pandas"):
        dslice.Slice("demo", client=client).to_pandas()


async def test_the_same_for_asyncio(client: dslice.Client) -> None:
    async with dslice.aio.Slice("demo", nodes=8, hours=1, keep=True, client=client) as s:
        assert [node.address for node in await s.nodes()] == answering.NODES
        operation = await s.add_key(answering.KEY)
        assert operation.outcome == "done"
        assert operation.nodes == answering.NODES
        assert [event.type async for event in operation.watch()][-1] == "ended"
        with pytest.raises(dslice.Error, match="not a node of demo"):
            await s["10.9.9.9"].run("true")


def test_a_renewed_certificate_is_shown(client: dslice.Client, folder: Path) -> None:
    before = client._open()._connection
    assert client._open()._connection is before
    (folder / "planetlab" / "cert.pem").touch()
    assert client._open()._connection is None
    assert dslice.Slice("demo", client=client).status().complete
