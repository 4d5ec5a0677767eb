"""A slice's needs, from svm's command to the nodes: created, completed, replaced and renewed with the same."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from admin.images.sources import entries
from admin.images.store import Store
from lifecycle.operations import SliceSpec, Verb
from models.states import Outcome
from nodemgr.images import Images
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab, slice_name
from tests.integration.tasks.farm import Farm
from tests.integration.tasks.front import Typist, fronting, settings_of
from trust.documents import verify_lease
from trust.errors import Refusal
from trust.needs import NOTHING, Needs

# Little enough that a node has it beside what the tests before gave back and it has not yet burnt.
NEEDS = Needs(memory_mb=2_000, cpu=200)
SPEC = SliceSpec(3, 3600, needs=NEEDS)


def has(lab: Lab, name: str) -> list[Needs]:
    """What the nodes' leases of a slice say, in their stores and as they were signed."""
    leases = [lease for one in lab.population.nodes if (lease := one.node.store.lease(name))]
    for lease in leases:
        assert verify_lease(lease.token, store=lab.trust).needs == lease.needs
    return [lease.needs for lease in leases]


def test_created_renewed_and_remembered(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    assert farm.run(Verb.CREATESLICE, name, owner, spec=SPEC).ok == 3
    assert has(lab, name) == [NEEDS] * 3
    assert farm.run(Verb.RENEWSLICE, name, owner).ok == 3
    assert has(lab, name) == [NEEDS] * 3
    assert farm.rows("SELECT needs FROM svm.slice WHERE name = :n", n=name) == [(NEEDS.to_json(),)]


def test_what_a_slice_lacks_is_asked_for_with_the_same_needs(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    assert farm.run(Verb.NEWTICKETS, name, owner, spec=SPEC).ok == 3
    first, *_ = farm.states(name)
    farm.fault(first, "over-capacity")
    made = farm.run(Verb.CREATESLICE, name, owner, spec=SPEC, replace=True)
    assert (made.outcome, made.ok) == (Outcome.DONE, 3)
    assert has(lab, name) == [NEEDS] * 3
    assert lab.node(first).node.store.lease(name) is None


@pytest.mark.parametrize("other", [NOTHING, Needs(memory_mb=2_001, cpu=200)])
def test_a_slice_that_holds_nodes_keeps_its_needs(farm: Farm, owner: Credentials, other: Needs) -> None:
    name = slice_name()
    farm.run(Verb.NEWTICKETS, name, owner, spec=SPEC)
    with pytest.raises(Exception, match=r"holds 3 nodes and was asked for with memory 2,000 MiB, cpu 200, not with"):
        farm.run(Verb.CREATESLICE, name, owner, spec=SliceSpec(3, 3600, needs=other))
    farm.run(Verb.DELETESLICE, name, owner)
    assert farm.run(Verb.CREATESLICE, name, owner, spec=SliceSpec(3, 3600, needs=other)).ok == 3


def test_too_few_nodes_have_it(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    failed = farm.run(Verb.CREATESLICE, name, owner, spec=SliceSpec(3, 3600, needs=Needs(memory_mb=16_385)))
    assert (failed.outcome, failed.code) == (Outcome.FAILED, "too-few-nodes")
    assert "3 asked for, 0 have 16,385 MiB of memory free" in (failed.reason or "")


def image_of(store: Store, name: str, text: str) -> str:
    """An image's digest."""
    source = store.folder.parent / text
    source.mkdir()
    (source / "motd").write_text(text)
    return store.add(name, lambda: entries(source, store.folder), datetime.now(UTC)).image.digest


async def told(lab: Lab, address: str) -> None:
    """Until the agent knows what the node offers."""
    node = lab.node(address).node
    node.changed()
    offered = {name: image.digest for name, image in node.images.offered(node.driver).items()}
    async with lab.session(lab.svm_credentials) as session:
        await lab.settled(
            session, lambda ads: any(ad.address == address and (ad.images or {}) == offered for ad in ads)
        )


@pytest.fixture
def stores(lab: Lab, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Images of two machines: four nodes have the first, two the second."""
    made = Store(tmp_path / "one" / "images"), Store(tmp_path / "two" / "images")
    for store, nodes in zip(made, (lab.addresses()[:4], lab.addresses()[4:6]), strict=True):
        for address in nodes:
            lab.node(address).node.images = Images(store.folder)
    yield made
    for one in lab.population.nodes:
        one.node.images = Images()
        lab.run(told(lab, one.row.address))


def test_an_image_from_the_file_to_the_nodes(
    farm: Farm, owner: Credentials, lab: Lab, stores: tuple[Store, Store]
) -> None:
    name, spec = slice_name(), SliceSpec(3, 3600, needs=Needs(image="hello"))
    digest, other = image_of(stores[0], "hello", "one"), image_of(stores[1], "hello", "two")
    assert digest != other
    for address in lab.addresses()[:6]:
        lab.run(told(lab, address))
    first, *_ = lab.addresses()
    farm.fault(first, "over-capacity")
    made = farm.run(Verb.CREATESLICE, name, owner, spec=spec, replace=True)
    assert (made.outcome, made.ok) == (Outcome.DONE, 3)
    assert sorted(farm.on_nodes(name)) == sorted(lab.addresses()[1:4])
    needs = Needs(image="hello", digest=digest)
    assert has(lab, name) == [needs] * 3
    assert farm.rows("SELECT needs FROM svm.slice WHERE name = :n", n=name) == [(needs.to_json(),)]
    with pytest.raises(Refusal, match=f"hello is in use by {name} on s.* and 2 more:"):
        stores[0].remove("hello")
    farm.run(Verb.DELETESLICE, name, owner)
    stores[0].remove("hello")
    assert stores[0].images() == []


def test_an_image_that_went_between_ticket_and_lease(
    farm: Farm, owner: Credentials, lab: Lab, stores: tuple[Store, Store]
) -> None:
    name, spec = slice_name(), SliceSpec(4, 3600, needs=Needs(image="hello"))
    image_of(stores[0], "hello", "one")
    for address in lab.addresses()[:4]:
        lab.run(told(lab, address))
    assert farm.run(Verb.NEWTICKETS, name, owner, spec=spec).ok == 4
    stores[0].remove("hello")
    assert set(farm.errors(farm.run(Verb.NEWLEASES, name, owner).id).values()) == {"over-capacity"}
    assert farm.on_nodes(name) == {}


def test_an_image_that_nobody_has(farm: Farm, owner: Credentials) -> None:
    spec = SliceSpec(3, 3600, needs=Needs(image="nonesuch"))
    failed = farm.run(Verb.CREATESLICE, slice_name(), owner, spec=spec)
    assert "3 asked for, 0 have the image nonesuch, nothing taken" in (failed.reason or "")


@pytest.fixture(scope="module")
def svmd(running: Farm) -> Iterator[str]:
    with fronting(running) as url:
        yield url


@pytest.fixture
def typist(
    farm: Farm, svmd: str, owner: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Typist:
    settings_of(owner.directory, farm.lab.plc_url, svmd)
    monkeypatch.setenv("PLANETLAB_HOME", str(owner.directory))
    return Typist(farm, owner, slice_name(), tmp_path / "slice.xml", tmp_path / "key.pub", capsys)


def write(typist: Typist, needs: str) -> None:
    numbers = "<numnodes>3</numnodes><leaselen>3600</leaselen>"
    typist.file.write_text(f"<slice><name>{typist.name}</name>{numbers}{needs}</slice>")


def test_as_it_is_typed(typist: Typist, lab: Lab) -> None:
    write(typist, "<memory>2000</memory><cpu>200</cpu>")
    assert len(typist.svm("createslice", "--dry-run", "FILE").out.split()) == 3
    assert typist.svm("createslice", "FILE").status == 0
    assert has(lab, typist.name) == [NEEDS] * 3
    assert "each sliver has memory 2,000 MiB, cpu 200" in typist.svm("status", typist.name).out
    assert '"needs": {"memory_mb": 2000, "cpu": 200}' in typist.svm("--json", "status", typist.name).out
    said = typist.svm("getads", "--long").out
    assert said.split("\n")[0].split() == ["NODE", "SITE", "PLACES", "MEMORY", "DISK", "QUOTA", "DRIVER", "IMAGES"]
    assert "of 16,384 MiB" in said
    assert "(simulated)" in said


def test_an_image_as_it_is_typed(typist: Typist, lab: Lab, stores: tuple[Store, Store]) -> None:
    image_of(stores[0], "hello", "one")
    for address in lab.addresses()[:4]:
        lab.run(told(lab, address))
    assert typist.svm("getads", "--long").out.count("hello") == 4
    write(typist, "<image>hello</image>")
    planned = typist.svm("createslice", "--dry-run", "FILE").out.split()
    assert set(planned) <= set(lab.addresses()[:4])
    assert typist.svm("createslice", "FILE").status == 0
    assert "each sliver has image hello" in typist.svm("status", typist.name).out
    assert typist.svm("deleteslice", typist.name).status == 0


def test_asked_for_less_it_is_made(typist: Typist) -> None:
    write(typist, "<memory>99999</memory>")
    for words in (("createslice", "--dry-run", "FILE"), ("createslice", "FILE")):
        said = typist.svm(*words)
        assert said.status == 1
        assert "0 have 99,999 MiB of memory free, nothing taken; ask for less or for fewer nodes" in said.err
        assert "of 16,384 MiB" in typist.svm("getads", "--long").out
    write(typist, "<memory>999</memory>")
    assert typist.svm("createslice", "FILE").status == 0


def test_a_plain_slice_says_nothing_of_needs(typist: Typist) -> None:
    write(typist, "")
    typist.svm("createslice", "FILE")
    assert "each sliver" not in typist.svm("status", typist.name).out
