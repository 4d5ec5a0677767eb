"""Each cure that doctor, status or a command names is typed as it stands there, and cures (tests/unit/cures)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.operations import Verb
from nodemgr.liveness import end_sliver
from rpc.credentials import Credentials
from svm import cli_errors
from svm.plkeygen import plkeygen
from tasks.autorenew import autorenew
from tasks.publish import publish
from tasks.reconcile import reconcile_all
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm, until
from tests.integration.tasks.front import Typist, fronting, settings_of
from trust.sshkeys import new_ssh_key_pair


@pytest.fixture(scope="module")
def svmd(running: Farm) -> Iterator[str]:
    with fronting(running) as url:
        yield url


@pytest.fixture
def typist(
    farm: Farm,
    svmd: str,
    owner: Credentials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Typist]:
    settings_of(owner.directory, farm.lab.plc_url, svmd)
    monkeypatch.setenv("PLANETLAB_HOME", str(owner.directory))
    key = tmp_path / "key.pub"
    key.write_text(new_ssh_key_pair("me")[1] + "\n")
    found = Typist(farm, owner, slice_name(), tmp_path / "slice.xml", key, capsys)
    found.write_file()
    yield found
    farm.execute("DELETE FROM svm.finding")
    farm.execute("DELETE FROM svm.node")


def reconciled(farm: Farm) -> None:
    """A whole round, of nodes whose rows have settled."""
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconcile_all()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL"))


@pytest.mark.parametrize("verbs", [("newtickets",), ("newtickets", "newleases")])
def test_a_slice_that_is_half_made(typist: Typist, verbs: tuple[str, ...]) -> None:
    for verb in verbs:
        assert typist.svm(verb, "FILE" if verb == "newtickets" else typist.name).status == 0
    assert not typist.is_well()
    assert typist.cure("nodes are lacking") == [["createslice", "FILE"]]
    assert typist.is_well()


def test_a_command_that_goes_on_is_named_by_the_one_before(typist: Typist) -> None:
    """newtickets and newleases say what comes next."""
    said = typist.svm("newtickets", "FILE")
    for _ in range(2):
        (words,) = said.commands("next: ")
        said = typist.svm(*words)
    assert typist.is_well()


def test_newvms_before_newleases(typist: Typist) -> None:
    typist.svm("newtickets", "FILE")
    node = next(iter(typist.farm.states(typist.name)))
    said = typist.svm("newvms", typist.name, node)
    assert said.status == 1
    assert said.commands("it has no lease yet") == [["newleases", typist.name, node]]
    for words in said.commands("  svm "):
        typist.svm(*words)
    assert typist.farm.states(typist.name)[node] == "running"


@pytest.mark.parametrize("fault", ["refuse", "over-capacity"])
def test_a_node_that_failed_for_a_while(typist: Typist, fault: str) -> None:
    typist.svm("newtickets", "FILE")
    node = next(iter(typist.farm.states(typist.name)))
    typist.farm.fault(node, fault)
    said = typist.svm("createslice", "FILE")
    assert said.status == 3
    assert not typist.is_well()
    typist.farm.fault(node, "ok")
    for words in [words for words in said.commands("  svm ") if "createslice" not in words]:
        assert typist.svm(*words).status == 0
    assert typist.is_well()


def test_a_node_that_stays_away_gives_way_to_another(typist: Typist) -> None:
    typist.svm("newtickets", "FILE")
    node = next(iter(typist.farm.states(typist.name)))
    typist.farm.fault(node, "refuse")
    said = typist.svm("createslice", "FILE")
    ((*words, file),) = [line.split()[1:] for line in said.err.splitlines() if "--replace" in line]
    assert file == str(typist.file)
    assert typist.svm(*words, file).status == 0
    assert typist.farm.states(typist.name)[node] == "deleting"
    assert list(typist.farm.states(typist.name).values()).count("running") == 3


def test_leases_that_have_ended(typist: Typist) -> None:
    typist.write_file(leaselen=4)
    typist.svm("createslice", "FILE")
    until(lambda: "nodes are lacking" in typist.svm("status", typist.name).err)
    until(lambda: not typist.farm.on_nodes(typist.name))
    typist.write_file()
    said = typist.svm("renewslice", typist.name)
    assert (said.status, said.commands()) == (1, [["createslice", "FILE"]])
    node = next(iter(typist.farm.states(typist.name)))
    for verb in ("newleases", "newvms"):
        told = typist.svm(verb, typist.name, node)
        assert told.status == 1
        assert {tuple(words) for words in told.commands()} == {("-t", "2", "createslice", "FILE"), ("createslice",)}
    assert typist.cure("nodes are lacking") == [["createslice", "FILE"]]
    assert typist.is_well()


def test_a_lease_that_ends_soon(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    typist.farm.execute("UPDATE svm.sliver SET expires_at = now() + interval '20 minutes'")
    assert not typist.is_well()
    assert typist.cure("the first lease ends") == [["renewslice", typist.name]]
    assert typist.is_well()


@pytest.mark.parametrize("verb", ["addkey", "delkey", "nukekeys"])
def test_keys_that_a_node_has_not_got(typist: Typist, verb: str) -> None:
    words = [verb, typist.name] if verb == "nukekeys" else [verb, typist.name, "KEYFILE"]
    typist.svm("createslice", "FILE")
    if verb != "addkey":
        typist.svm("addkey", typist.name, "KEYFILE")
    node = next(iter(typist.farm.states(typist.name)))
    typist.farm.fault(node, "refuse")
    assert typist.svm(*words).status == 3
    assert not typist.is_well()
    assert any("delkey or nukekeys that changed them sends them when repeated" in line for line in typist.doctor())
    typist.farm.fault(node, "ok")
    assert typist.svm(*words).status == 0
    assert typist.is_well()


def test_a_slice_without_its_key_pair(typist: Typist) -> None:
    typist.svm("newtickets", "FILE")
    typist.svm("newleases", typist.name)
    typist.farm.execute("UPDATE svm.slice SET sealed_key = NULL, public_key = NULL WHERE name = :n", n=typist.name)
    said = typist.svm("newvms", typist.name, next(iter(typist.farm.states(typist.name))))
    assert said.status == 1
    commands = said.commands("has no key pair")
    assert commands == [["deleteslice", typist.name], ["createslice", "FILE"]]
    for words in commands:
        assert typist.svm(*words).status == 0
    assert typist.is_well()


def test_a_permission_that_has_ended(typist: Typist) -> None:
    """Half an hour after the command it is over; the next command brings another."""
    typist.svm("createslice", "FILE")
    started = typist.farm.start(Verb.RENEWSLICE, typist.name, typist.owner, publish=False)
    typist.farm.execute("UPDATE svm.slice SET working_until = now() WHERE name = :n", n=typist.name)
    publish(started.publish)
    typist.farm.ended(started.operation)
    said = typist.svm("watch", typist.name)
    assert said.status == 1
    assert said.out.count("permission has ended: run the command again to give it") == 3
    (words,) = said.commands("Try again with")
    assert words == ["renewslice", typist.name]
    assert typist.svm(*words).status == 0


def test_a_pair_that_a_node_has_not_got(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    node = next(iter(typist.farm.states(typist.name)))
    typist.farm.fault(node, "refuse")
    assert typist.svm("rekey", typist.name).status == 3
    assert not typist.is_well()
    typist.farm.fault(node, "ok")
    assert typist.cure("older key pair") == [["rekey", typist.name]]
    assert typist.is_well()


def test_a_vm_that_its_node_has_lost(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    node = typist.farm.lab.node(next(iter(typist.farm.states(typist.name)))).node
    lease = node.store.lease(typist.name)
    assert lease
    with node.store.transaction():
        node.store.forget(lease, node.now())
    reconciled(typist.farm)
    assert not typist.is_well()
    assert typist.cure("no longer has its VM") == [["deleteslice", typist.name], ["createslice", "FILE"]]
    reconciled(typist.farm)
    assert typist.is_well()


@pytest.mark.parametrize("typed", ["start", "newvms"])
def test_a_vm_that_has_ended_by_itself(typist: Typist, typed: str) -> None:
    """Doctor names what starts it; newvms does so too."""
    typist.svm("createslice", "FILE")
    address = next(iter(typist.farm.states(typist.name)))
    node = typist.farm.lab.node(address).node
    lease = node.store.lease(typist.name)
    assert lease
    typist.farm.lab.run(end_sliver(node, typist.name, "ended by itself"))
    reconciled(typist.farm)
    assert not typist.is_well()
    assert "2 of 3 running, 1 stopped" in typist.doctor()[0]
    assert " died " in typist.svm("status", typist.name).out
    assert "its VM ended by itself, 20" in typist.svm("history", typist.name).out
    if typed == "start":
        assert typist.cure("its VM does not run since") == [["start", typist.name, address]]
    else:
        assert typist.svm("newvms", typist.name).status == 0
    assert node.store.lease(typist.name) == lease
    assert typist.is_well()


def test_a_vm_that_was_stopped(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    address = next(iter(typist.farm.states(typist.name)))
    assert typist.svm("stop", typist.name, address).status == 0
    refused = typist.svm("ssh", typist.name, address)
    assert (refused.status, refused.commands()) == (1, [["start", typist.name, address]])
    assert not typist.is_well()
    assert " stopped " in typist.svm("status", typist.name).out
    said = typist.svm("createslice", "FILE")
    assert (said.status, said.commands()) == (1, [["start", typist.name]])
    assert typist.cure("its VM does not run since") == [["start", typist.name, address]]
    assert typist.is_well()
    assert "first lease ends 20" in typist.doctor()[0]


def test_a_node_that_cannot_be_told(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    node = next(iter(typist.farm.states(typist.name)))
    typist.farm.fault(node, "refuse")
    said = typist.svm("restart", typist.name)
    assert (said.status, said.commands("Try again")) == (3, [["-t", "2", "restart", typist.name, node]])
    typist.farm.fault(node, "ok")
    for words in said.commands("Try again"):
        assert typist.svm(*words).status == 0


def test_start_before_newvms(typist: Typist) -> None:
    typist.svm("newtickets", "FILE")
    typist.svm("newleases", typist.name)
    node = next(iter(typist.farm.states(typist.name)))
    said = typist.svm("start", typist.name, node)
    assert (said.status, said.commands("it has no VM yet")) == (1, [["newvms", typist.name, node]])
    for words in said.commands("it has no VM yet"):
        assert typist.svm(*words).status == 0
    assert typist.farm.states(typist.name)[node] == "running"


def test_a_slice_of_another_size(typist: Typist) -> None:
    typist.svm("newtickets", "FILE")
    typist.write_file(numnodes=4)
    said = typist.svm("newtickets", "FILE")
    assert (said.status, said.commands("was asked for")) == (2, [["createslice", "FILE"]])
    assert typist.svm("createslice", "FILE").status == 0
    assert len(typist.farm.on_nodes(typist.name)) == 4
    said = typist.svm("shrink", typist.name, *typist.farm.states(typist.name))
    assert (said.status, said.commands("without a node")) == (2, [["deleteslice", typist.name]])
    assert typist.svm("deleteslice", typist.name).status == 0


def test_a_smaller_slice_and_a_node_that_is_away(typist: Typist) -> None:
    """It ends by itself, and svmd has it end sooner."""
    typist.svm("createslice", "FILE")
    node = list(typist.farm.states(typist.name))[-1]
    typist.farm.fault(node, "refuse")
    typist.write_file(numnodes=2)
    said = typist.svm("createslice", "FILE")
    assert said.status == 1
    assert "What could not be reached ends by itself" in said.err
    assert "--replace" not in said.err
    typist.farm.fault(node, "ok")
    reconciled(typist.farm)
    assert node not in typist.farm.on_nodes(typist.name)


def test_a_silent_node_of_a_slice(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    node = next(iter(typist.farm.states(typist.name)))
    typist.farm.fault(node, "refuse")
    reconciled(typist.farm)
    assert not typist.is_well()
    assert typist.cure("has not answered since") == [["heal", typist.name, "on"]]
    typist.farm.execute("UPDATE svm.node SET silent_since = now() - interval '1 day' WHERE node = :n", n=node)
    reconciled(typist.farm)
    until(lambda: typist.farm.states(typist.name)[node] == "deleting")
    typist.farm.fault(node, "ok")
    until(lambda: not typist.farm.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"))
    reconciled(typist.farm)
    # What is left to say is the owner's certificate, which these tests make for an hour.
    assert all("the delegation ends" in line for line in typist.doctor())


def test_a_slice_that_is_being_deleted(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    node = next(iter(typist.farm.states(typist.name)))
    typist.farm.fault(node, "refuse")
    said = typist.svm("deleteslice", typist.name)
    assert said.status == 3
    assert said.commands("Try again with")[-1][-2:] == ["deleteslice", typist.name]
    assert not typist.is_well()
    typist.farm.fault(node, "ok")
    assert typist.cure("being deleted") == [["deleteslice", typist.name]]
    assert typist.doctor() == []


def test_autorenew_that_ends_with_the_certificate(typist: Typist) -> None:
    """A delegation never outlives the certificate that signed it: plkeygen --renew comes first."""
    typist.svm("createslice", "FILE")
    said = typist.svm("autorenew", typist.name, "on", "--until", "2099-12-24")
    assert "when your certificate ends: plkeygen --renew and then svm delegate" in said.err
    (line,) = [line for line in typist.doctor() if "the delegation ends" in line]
    assert "plkeygen --renew and then svm delegate" in line
    assert cli_errors.run(plkeygen, "plkeygen", ["--renew"]) == 0
    assert typist.cure("the delegation ends") == [["delegate", typist.name]]
    assert typist.is_well()
    assert said.err.split(" until ")[1][:19] not in typist.svm("autorenew", typist.name, "status").out


@pytest.mark.parametrize("verb", ["autorenew", "heal"])
def test_a_delegation_that_has_ended(typist: Typist, verb: str) -> None:
    assert cli_errors.run(plkeygen, "plkeygen", ["--renew"]) == 0
    typist.svm("createslice", "FILE")
    typist.svm(verb, typist.name, "on")
    typist.farm.execute("UPDATE svm.slice SET standing_until = now() WHERE name = :n", n=typist.name)
    assert not typist.is_well()
    assert typist.cure("no standing delegation") == [["delegate", typist.name]]
    assert typist.is_well()


def test_an_autorenew_that_has_ended_with_the_delegation(typist: Typist) -> None:
    assert cli_errors.run(plkeygen, "plkeygen", ["--renew"]) == 0
    typist.svm("createslice", "--autorenew", "FILE")
    typist.farm.execute("UPDATE svm.slice SET standing_until = now() WHERE name = :n", n=typist.name)
    autorenew()
    assert typist.svm("autorenew", typist.name, "status").out.startswith("autorenew off")
    commands = typist.svm("history", typist.name).commands("autorenew ended")
    assert commands == [["autorenew", typist.name, "on"]]
    assert typist.svm(*commands[0]).status == 0
    assert typist.svm("autorenew", typist.name, "status").out.startswith("autorenew on until")


def test_an_operation_in_the_way(typist: Typist) -> None:
    typist.svm("newtickets", "FILE")
    typist.farm.fault(next(iter(typist.farm.states(typist.name))), "blackhole")
    started = typist.farm.start(Verb.NEWLEASES, typist.name, typist.owner)
    refused = typist.svm("renewslice", typist.name)
    assert (refused.status, refused.commands("under way")[0]) == (1, ["watch", typist.name])
    assert any("newleases goes on: svm watch" in line for line in typist.doctor())
    assert typist.svm("watch", typist.name).status == 3
    assert typist.farm.ended(started.operation).outcome == "partial"
    assert typist.svm("renewslice", typist.name).status == 0


def test_an_autorenew_that_ends_soon(typist: Typist) -> None:
    assert cli_errors.run(plkeygen, "plkeygen", ["--renew"]) == 0
    typist.svm("createslice", "--autorenew", "FILE")
    typist.farm.execute(
        "UPDATE svm.slice SET autorenew_until = now() + interval '1 day' WHERE name = :n", n=typist.name
    )
    assert not typist.is_well()
    assert typist.cure("autorenew ends") == [["autorenew", typist.name, "on"]]
    assert typist.is_well()


def test_a_slice_that_is_complete(typist: Typist) -> None:
    typist.svm("createslice", "FILE")
    assert "renewslice and addkey work on it, deleteslice ends it" in typist.svm("createslice", "FILE").err


def test_no_slice_and_no_vm(typist: Typist) -> None:
    said = typist.svm("slices")
    assert said.commands("no slices") == [["createslice", "FILE"]]
    assert typist.svm("newtickets", "FILE").status == 0
    for words in (["nodelist", typist.name], ["expirations", typist.name], ["run", typist.name, "--", "true"]):
        (shown,) = typist.svm(*words).commands("svm status")
        assert typist.svm(*shown).status == 0
    assert typist.cure("nodes are lacking") == [["createslice", "FILE"]]
    (ssh,) = typist.svm("ssh", typist.name, "10.9.8.7").commands("svm nodelist")
    assert len(typist.svm(*ssh).out.splitlines()) == 3
    (watch,) = typist.svm("cancel", typist.name).commands("svm history")
    assert typist.svm(*watch).status == 0
