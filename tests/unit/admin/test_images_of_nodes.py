"""Images and the nodes that offer and use them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from admin.images.store import Store
from nodemgr.images import NODES, ROOT, Images, users
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from nodemgr.storage.store import Burnt
from nodemgr.storage.store import Store as NodeStore
from tests.unit.admin.images import HELLO, add, tar_of
from tests.unit.nodemgr.test_store import lease
from tests.unit.trust.factories import AGENT, NODE, NOW, SLICE_ID, USER
from trust.errors import Code, Refusal
from trust.needs import Needs


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeStore]:
    made = NodeStore(tmp_path / "node.db", NODE)
    made.burn(Burnt("t-1", USER, AGENT, SLICE_ID, NOW))
    yield made
    made.close()


@pytest.mark.parametrize("how", ["lease", "removal", "stopped"])
def test_an_image_in_use_stays(store: Store, tmp_path: Path, node: NodeStore, how: str) -> None:
    image = add(store, tar_of(tmp_path / "hello.tar", HELLO)).image
    needs = Needs(image="hello", digest=image.digest)
    Images(store.folder).register("n1", node.path)
    node.add_removal("going", SLICE_ID, needs) if how == "removal" else node.put(lease(needs=needs))
    if how == "stopped":
        node.close()
    with pytest.raises(Refusal, match=r"hello is in use by (going|oceanstore) on n1: try again") as refusal:
        store.remove("hello")
    assert refusal.value.code is Code.BUSY
    assert store.images() == [image]
    assert add(store, tmp_path / "hello.tar", "other").image.digest == image.digest
    store.remove("other")
    if how != "stopped":
        node.removed("going")
        for held in node.leases():
            node.forget(held, NOW)
        store.remove("hello")
        assert store.images() == []


def test_a_node_that_is_gone_or_cannot_be_read(store: Store, tmp_path: Path) -> None:
    add(store, tar_of(tmp_path / "hello.tar", HELLO))
    images = Images(store.folder)
    images.register("gone", tmp_path / "gone.db")
    assert list(users(store.folder, "hello")) == []
    assert list((store.folder / NODES).iterdir()) == []
    (tmp_path / "damaged.db").write_text("no database")
    images.register("damaged", tmp_path / "damaged.db")
    with pytest.raises(Refusal) as refusal:
        store.remove("hello")
    assert refusal.value.code is Code.BUSY
    assert [image.name for image in store.images()] == ["hello"]


def test_what_a_node_offers_follows_the_folder(store: Store, tmp_path: Path) -> None:
    images, driver = Images(store.folder), SimulatedDriver(tmp_path / "slivers")
    assert images.offered(driver) == {}
    one = add(store, tar_of(tmp_path / "hello.tar", HELLO)).image
    assert {name: found.digest for name, found in images.offered(driver).items()} == {"hello": one.digest}
    assert images.offered(driver)["hello"].root == store.folder / "hello" / ROOT
    driver.images = False  # as of one whose slivers see the node's own root
    assert images.offered(driver) == {}
    driver.images = True
    store.remove("hello")
    assert images.offered(driver) == {}
    assert Images(None).offered(driver) == {}
    assert Images(tmp_path / "nowhere").offered(driver) == {}
    (tmp_path / "file").write_text("")
    assert Images(tmp_path / "file").offered(driver) == {}


def test_a_folder_that_the_node_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", closed)
    assert Images(tmp_path).offered(SimulatedDriver(tmp_path / "slivers")) == {}


def test_name_and_digest_count(store: Store, tmp_path: Path) -> None:
    images, driver = Images(store.folder), SimulatedDriver(tmp_path / "slivers")
    digest = add(store, tar_of(tmp_path / "hello.tar", HELLO)).image.digest
    assert images.find(Needs(memory_mb=99), driver) is None
    found = images.find(Needs(image="hello", digest=digest), driver)
    assert found
    assert found.name == "hello"
    for wrong in (Needs(image="other", digest=digest), Needs(image="hello", digest="ab" * 32), Needs(image="hello")):
        with pytest.raises(Refusal) as refusal:
            images.find(wrong, driver)
        assert refusal.value.code is Code.OVER_CAPACITY
